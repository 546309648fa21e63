"""Writes the logits of public networks that PyTorch gives.

Needs PyTorch. The networks, their weights and the images are those of
`tests.weights.zoo`.

    python -m tests.golden.make_zoo
"""

import json
from pathlib import Path

from tests.weights import zoo

FILE = Path(__file__).parent / "zoo.json"


def logits(case):
    """[n, classes], rounded to seven digits."""
    found = zoo.in_torch(zoo.network(case), zoo.IMAGES)
    return [[float(f"{value:.7g}") for value in row] for row in found]


def main():
    rows = [f"{json.dumps(case)}: {json.dumps(logits(case))}" for case in zoo.CASES]
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
