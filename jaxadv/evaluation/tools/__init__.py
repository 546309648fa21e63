"""Commands beside an evaluation."""
