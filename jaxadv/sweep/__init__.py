"""A grid of training configs over seeds: run, judged by one suite, in one table."""
