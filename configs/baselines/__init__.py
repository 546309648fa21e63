"""Ordinary training: clean, against PGD, TRADES, fast."""
