"""Searches that follow gradients inside a threat."""
