"""Data sets, batches and augmentations."""
