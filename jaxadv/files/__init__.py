"""Files: written whole, checked when read, one run at a time, nothing executed."""
