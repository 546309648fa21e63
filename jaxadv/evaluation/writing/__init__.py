"""Results in writing: tables of text, names that never act, files that are whole."""
