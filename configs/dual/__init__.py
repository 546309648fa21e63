"""Dual perturbations of foreground and background, and randomized smoothing."""
