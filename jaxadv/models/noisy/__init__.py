"""Networks around another network, whose weights or activations they make random."""
