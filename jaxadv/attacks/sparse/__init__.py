"""Searches that change few pixels."""
