"""Azizmalayeri and Rohban, "Lagrangian objective function", and the rivals it names."""
