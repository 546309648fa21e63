"""Measurements: `speed/` in ratios, `papers/` as tables and figures."""
