"""A suite: which attacks are run on which images."""
