"""Searches for the smallest perturbation that changes the class."""
