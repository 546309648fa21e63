"""Laidlaw et al., "Perceptual adversarial robustness"."""
