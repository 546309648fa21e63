"""Laidlaw et al., "Perceptual adversarial robustness: defense against unseen threat
models"."""
