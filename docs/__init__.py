"""Pages of the documentation; those of `make_pages` are generated."""
