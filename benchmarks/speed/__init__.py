"""How fast: ratios measured in one run on an idle machine."""
