"""Searches that need no gradient."""
