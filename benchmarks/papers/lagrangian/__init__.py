"""Azizmalayeri and Rohban, "Lagrangian objective function leads to improved unforeseen
attack generalization in adversarial training", 2021: its tables and figures."""
