"""The networks that the tables and figures of dual perturbations speak of."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.papers.lagrangian.networks import Images, load
from jaxadv.perceptual import saliency

__all__ = ["Images", "TRAININGS", "budgets", "load", "looks", "trained"]

# Name -> the title and the config, in which {norm} and {eps} are the foreground's.
TRAININGS: Mapping[str, tuple[str, Sequence[str]]] = {
    "clean": ("clean", ["configs/baselines/shapes_clean.py"]),
    "at_pgd": (
        "AT-PGD",
        [
            "configs/baselines/shapes_pgd_at.py",
            "--config.attack.threat.name={norm}",
            "--config.attack.threat.eps={eps}",
        ],
    ),
    "at_dual": ("AT-Dual", ["configs/dual/shapes_dual.py:{norm}"]),
    "gaussian": ("noise 0.12", ["configs/dual/shapes_gaussian.py"]),
    "smooth_adv": ("SmoothAdv", ["configs/dual/shapes_smooth_adv.py"]),
    "macer": ("MACER", ["configs/dual/shapes_macer.py"]),
}


def budgets(norm: str) -> tuple[float, float]:
    """Of foreground and background, those of configs/dual/shapes_dual.py."""
    from configs.dual.shapes_dual import BUDGETS

    return BUDGETS[norm]


def trained(
    name: str, norm: str, seeds: Sequence[int], runs: Path, flags: Sequence[str] = ()
) -> list[Path]:
    """The runs of a training, one a seed, trained where they are not yet."""
    config, *own = TRAININGS[name][1]
    asks_norm = any("{norm}" in text for text in (config, *own))
    folders = []
    for seed in seeds:
        where = f"{name}_{norm}" if asks_norm else name
        folder = runs / f"{where},seed={seed}"
        given = {"norm": norm, "eps": budgets(norm)[0]}
        _run(
            "train", f"--config={config.format(**given)}", f"--workdir={folder}",
            f"--config.seed={seed}", *(flag.format(**given) for flag in own), *flags,
        )  # fmt: skip
        folders.append(folder)
    return folders


def looks(runs: Path, steps: int = 1000) -> Any:
    """The saliency network, trained where it is not yet."""
    path = runs / "saliency.safetensors"
    if not path.exists():
        _run("saliency", "--data=shapes", f"--output={path}", f"--steps={steps}")
    return saliency.load(str(path))


def _run(*command):
    status = subprocess.run([sys.executable, "-m", "jaxadv", *command]).returncode
    if status:
        sys.exit(f"jaxadv {' '.join(command)} failed (exit {status})")
