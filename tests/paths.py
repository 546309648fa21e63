"""Where the repository is, and the values that tests compare with."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
