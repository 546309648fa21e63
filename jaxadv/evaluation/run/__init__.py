"""Running a suite: attacks, the judge, the per-example table."""
