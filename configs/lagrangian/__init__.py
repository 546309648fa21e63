"""Training for unforeseen attacks: the Lagrangian objective and its rivals."""
