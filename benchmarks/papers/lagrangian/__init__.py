"""Azizmalayeri and Rohban: Lagrangian adversarial training, analyses and pictures."""
