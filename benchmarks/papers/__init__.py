"""Tables and figures of papers, a folder each, beside what the papers print."""
