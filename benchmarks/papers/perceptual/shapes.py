"""Perceptual against other adversarial training on `shapes`, at equal epochs.

python -m benchmarks.papers.perceptual.shapes RUNS [--seeds 0 1 2]

Trains what is not trained yet, evaluates it with configs/suites/perceptual.py, and
prints accuracies as means and standard deviations over the seeds. It goes on where it
was stopped.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.timing import table

L2 = ("--config.attack.threat.name=l2", "--config.attack.threat.eps=0.5")
METHODS = {
    "clean": ("baselines/shapes_clean", ()),
    "at_linf": ("baselines/shapes_pgd_at", ()),
    "at_l2": ("baselines/shapes_pgd_at", L2),
    "pat_self": ("perceptual/shapes_pat_self", ()),
    "pat_ext": ("perceptual/shapes_pat_alexnet", ()),
}
COLUMNS = ("linf", "l2", "spatial", "lpa")


def call(script, *arguments):
    subprocess.run([sys.executable, script, *arguments], check=True)


def train(config, folder, *flags):
    # train.py goes on with a run that was stopped and leaves a finished one alone.
    call("train.py", f"--config=configs/{config}.py", f"--workdir={folder}", *flags)


def report(runs, method, seed):
    """The report of one method and seed, trained and evaluated where it is not yet."""
    config, flags = METHODS[method]
    external, folder = runs / "shapes_alexnet", runs / f"s{seed}_{method}"
    path = folder / "eval" / "perceptual" / "report.json"
    if not path.exists():
        if method == "pat_ext":
            flags = tuple(
                f"--config.{part}attack.threat.network.path={external}"
                for part in ("", "validation.")
            )
        train(config, folder, f"--config.seed={seed}", *flags)
        call(
            "eval.py", "--config=configs/suites/perceptual.py", "--which=last",
            f"--checkpoint={folder}",
            f"--config.attacks.lpa.threat.network.path={external}",
            f"--config.distances.lpips_external.network.path={external}",
        )  # fmt: skip
    return json.loads(path.read_text())


def accuracies(found):
    """Percent: clean, each of `COLUMNS`, and their union."""
    parts = [found["clean"], *(found["attacks"][c] for c in COLUMNS)]
    return [100 * p["accuracy"] for p in (*parts, found["unions"]["union"])]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    if not (args.runs / "shapes_alexnet" / "best").exists():
        train("perceptual/shapes_alexnet", args.runs / "shapes_alexnet")
    lines = []
    for method in METHODS:
        found = [accuracies(report(args.runs, method, s)) for s in args.seeds]
        middle, spread = np.mean(found, 0), np.std(found, 0)
        cells = [f"{m:.1f} ± {s:.1f}" for m, s in zip(middle, spread, strict=True)]
        lines.append([method, *cells])
    print(f"accuracy in %, mean ± standard deviation over {len(args.seeds)} seeds")
    table(["trained", "clean", *COLUMNS, "union"], lines)


if __name__ == "__main__":
    main()
