"""The networks that the tables and figures of Learn2Perturb speak of.

RUNS has a folder a method and a seed, as `l2p,seed=0`.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Name -> the title; what follows the colon of the config.
METHODS = {
    "vanilla": "vanilla AT",
    "pni": "PNI",
    "adv_bnn": "Adv-BNN",
    "l2p": "Learn2Perturb",
}
CONFIG = "configs/learn2perturb/{data}_resnet20.py:{method}"


def trained(
    method: str,
    seeds: Sequence[int],
    runs: Path,
    data: str = "shapes",
    flags: Sequence[str] = (),
) -> list[Path]:
    """The runs of a method, one a seed, trained where they are not yet.

    A flag for `config.model.network` goes to `config.model` where there is no noise
    around the network.
    """
    folders = []
    for seed in seeds:
        folder = runs / f"{method},seed={seed}"
        own = flags
        if method == "vanilla":
            own = [
                flag.replace("config.model.network.", "config.model.") for flag in own
            ]
        command = [
            sys.executable, "-m", "jaxadv", "train",
            f"--config={CONFIG.format(data=data, method=method)}",
            f"--workdir={folder}", f"--config.seed={seed}", *own,
        ]  # fmt: skip
        if subprocess.run(command, stdout=sys.stderr).returncode:
            sys.exit(f"{' '.join(command)} failed")
        folders.append(folder)
    return folders


def arguments(description: str | None, kind: str, choices) -> argparse.ArgumentParser:
    """A parser of what tables and figures have in common, and of which one to make."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument(f"--{kind}", choices=choices, required=True)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--train", nargs=argparse.REMAINDER, default=[], dest="flags")
    return parser
