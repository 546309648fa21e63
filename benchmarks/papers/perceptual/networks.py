"""The networks that the tables and figures of perceptual training speak of.

RUNS has a folder a training and a seed, as `pat_self,seed=0`.
"""

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.papers.lagrangian.networks import evaluated
from jaxadv.evaluation.table import Table

TITLES = {
    "normal": "normal",
    "linf": "AT ℓ∞",
    "trades": "TRADES ℓ∞",
    "l2": "AT ℓ2",
    "jpeg": "AT JPEG",
    "stadv": "AT StAdv",
    "recolor": "AT ReColorAdv",
    "random": "AT all, random",
    "average": "AT all, average",
    "maximum": "AT all, maximum",
    "pat_self": "PAT, self",
    "pat_alexnet": "PAT, AlexNet",
}
PAT = ("pat_self", "pat_alexnet")


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set of the tables.

    Attributes:
      config: of the trainings, a file below `configs/perceptual`.
      suite: of their columns, a file of `configs/suites`.
      size: of the suites `bounds` and `projections`.
      paper: the data set that the paper's numbers beside are of.
      without: rows of `TITLES` that it does not have.
    """

    config: str
    suite: str
    size: str
    paper: str
    without: tuple[str, ...]

    @property
    def rows(self) -> list[str]:
        return [name for name in TITLES if name not in self.without]


DATA = {
    "shapes": Data("shapes_table2", "narrow_shapes.py", "shapes", "cifar10", ("jpeg",)),
    "cifar10": Data("cifar10_table2", "narrow_cifar.py", "", "cifar10", ("jpeg",)),
    "imagenet100": Data(
        "imagenet100_table3",
        "narrow_imagenet100.py",
        "imagenet100",
        "imagenet100",
        ("trades", "average", "maximum"),
    ),
}


def trained(method: str, seed: int, args: argparse.Namespace) -> Path:
    """The run of a row and a seed, trained where it is not yet."""
    folder = args.runs / args.data / f"{method},seed={seed}"
    command = [
        sys.executable, "-m", "jaxadv", "train",
        f"--config=configs/perceptual/{DATA[args.data].config}.py:{method}",
        f"--workdir={folder}", f"--config.seed={seed}", *args.flags,
    ]  # fmt: skip
    if subprocess.run(command, stdout=sys.stderr).returncode:
        sys.exit(f"{' '.join(command)} failed")
    return folder


def judged(
    method: str, seed: int, suite: str, args: argparse.Namespace
) -> tuple[Mapping[str, Any], Table]:
    """Report and table of that run's last checkpoint under a suite.

    The last, as published: the ball of PAT changes with its network, so that none is
    the best by it.
    """
    name = suite.replace(".py", "").replace(":", "_")
    folder = trained(method, seed, args)
    return evaluated(folder, suite, name, args.eval, which="last")


def arguments(
    description: str | None, kind: str, choices: Sequence[str]
) -> argparse.ArgumentParser:
    """A parser of what tables and figures have in common, and of which one to make."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument(f"--{kind}", choices=choices, required=True)
    parser.add_argument("--data", default="shapes", choices=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--methods", nargs="+", choices=TITLES, help="rows; default: all"
    )
    parser.add_argument("--eval", default=[], action="append", help="flag of the suite")
    parser.add_argument("--train", nargs=argparse.REMAINDER, default=[], dest="flags")
    return parser
