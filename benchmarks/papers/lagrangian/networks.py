"""Networks that `jaxadv match` has trained, their test images and their evaluations.

RUNS has a folder a method, whose match.json names the runs at the matched budget, one a
seed.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv import checkpoints, specs
from jaxadv.data import sources
from jaxadv.evaluation import table
from jaxadv.specs import UsageError


@dataclasses.dataclass(frozen=True)
class Method:
    """The runs of one method.

    Attributes:
      name: of its folder.
      folders: of the chosen runs, one a seed.
      matched: whether their clean accuracy is the wanted one.
    """

    name: str
    folders: list[Path]
    matched: bool

    @property
    def title(self) -> str:
        """Its name, with a star where its clean accuracy is another."""
        return self.name if self.matched else f"{self.name} *"


@dataclasses.dataclass(frozen=True)
class Images:
    """Test images.

    Attributes:
      images: [n, h, w, c] float32 in [0, 1].
      labels: [n] int32.
      ids: [n] their positions in the split.
      mask: [n, h, w, 1] of the foreground, where the set has it.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    mask: np.ndarray | None

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images, labels and ids, as every measure takes them."""
        return self.images, self.labels, self.ids


def methods(runs: Path, names: list[str] | None = None) -> list[Method]:
    """The methods of RUNS in the order of `names`, else all of them by name.

    Raises:
      UsageError: there is none, or one of `names` is not there.
    """
    there = {path.parent.name: path for path in sorted(runs.glob("*/match.json"))}
    missing = [name for name in names or () if name not in there]
    if missing or not there:
        raise UsageError(
            f"{runs}/{missing[0] if missing else 'METHOD'}/match.json is not there; "
            "`jaxadv match CONFIG --workdir=RUNS/METHOD …` makes it"
        )
    return [_method(there[name]) for name in names or there]


def _method(path):
    found = json.loads(path.read_text())
    folders = [Path(folder) for folder in found["folders"]]
    # Noted relative to where the search ran, and moved with RUNS.
    folders = [f if f.exists() else path.parent / f.name for f in folders]
    return Method(path.parent.name, folders, bool(found.get("matched", True)))


def load(folder: Path, examples: int, which: str = "best") -> tuple[Any, Images]:
    """A run's network, and the first test images of the set it was trained on."""
    model, config, _ = checkpoints.load_classifier(folder, which)
    data = specs.plain(config)["data"]
    more = {name: data.get(name) for name in ("data_dir", "image_size", "test")}
    source = sources.load(data["name"], "test", **more)
    ids = np.arange(min(examples, len(source)))
    rows = source.get(ids)
    images = np.asarray(rows["image"], np.float32) / 255
    labels = np.asarray(rows["label"], np.int32)
    return model, Images(images, labels, ids, rows.get("mask"))


def evaluated(
    folder: Path,
    suite: str,
    name: str,
    flags: Sequence[str] = (),
    examples: int | None = None,
    which: str = "best",
) -> tuple[Any, table.Table]:
    """The report and the table of a run's evaluation, made where it is not there yet.

    Args:
      folder: of the run.
      suite: a file of configs/suites, with what follows the colon.
      name: of the folder of the evaluation, beside others of this run.
      flags: of eval.py.
      examples: images; None: as many as the suite says.
      which: checkpoint, the "best" or the "last".

    Raises:
      UsageError: it is there with another number of images.
    """
    where = folder / "eval" / name
    if not (where / "report.json").exists():
        command = [
            sys.executable, "eval.py", f"--config=configs/suites/{suite}",
            f"--checkpoint={folder}", f"--workdir={where}",
            f"--which={which}", *flags,
        ]  # fmt: skip
        command += [] if examples is None else [f"--config.examples={examples}"]
        subprocess.run(command, check=True, stdout=sys.stderr)
    report = json.loads((where / "report.json").read_text())
    if examples not in (None, report["clean"]["n"]):
        raise UsageError(
            f"{where} is of {report['clean']['n']} images, not {examples}; give "
            "--examples as then, or delete the folder"
        )
    return report, table.load(where / "table.npz")


def left(report: Any) -> dict[str, Any]:
    """Of AutoAttack's report the accuracy that all its parts together leave."""
    (whole,) = report["unions"].values()
    return whole


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser of what the analyses and the figures have in common."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the methods")
    parser.add_argument("--methods", nargs="+", help="default: all that are there")
    parser.add_argument("--examples", type=int, default=200, help="test images")
    parser.add_argument("--seed", type=int, default=0, help="of the random starts")
    parser.add_argument("--batch", type=int, default=100, help="images at a time")
    parser.add_argument("--l2", type=float, default=0.5, help="budget, in [0, 1] units")
    parser.add_argument("--linf", type=float, default=4 / 255, help="likewise")
    parser.add_argument(
        "--lam", type=float, default=2.0, help="multiplier of the Lagrangian attack"
    )
    parser.add_argument(
        "--step_size", type=float, default=0.15, help="of its first step"
    )
    parser.add_argument("--deviation", type=float, default=0.01, help="of its start")
    parser.add_argument("--lpips", type=float, default=0.3, help="bound of Fast-LPA")
    parser.add_argument(
        "--alexnet", type=Path, help="run whose network measures LPIPS; default: own"
    )
    return parser
