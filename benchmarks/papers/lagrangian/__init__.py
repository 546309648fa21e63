"""Azizmalayeri and Rohban, Lagrangian adversarial training: its analyses and pictures."""
