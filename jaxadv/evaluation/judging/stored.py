"""Adversarial images in a file, judged as they are stored."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxadv import parallel
from jaxadv.evaluation.judging.judge import NETWORK_SLACK, Judge
from jaxadv.files import storage
from jaxadv.specs import UsageError

DTYPES = ("float32", "uint8")
_NEAR = 1e-2  # of a level: rounding of float32, where an image lies on one


def levels(images: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Images [n, h, w, c] in [0, 1] as uint8, no pixel farther from the clean one.

    What lies between two levels goes to that on the side of the clean image, which
    keeps it in every lp ball if the clean image lies on levels itself.
    """
    scaled, origin = 255 * images.astype(np.float64), 255 * clean.astype(np.float64)
    nearest = np.rint(scaled)
    inward = np.where(scaled > origin, np.floor(scaled), np.ceil(scaled))
    found = np.where(np.abs(scaled - nearest) < _NEAR, nearest, inward)
    return np.clip(found, 0, 255).astype(np.uint8)


class Again:
    """Looks at stored images with the program that has judged the attacks."""

    def __init__(self, model: Any, suite: Any, key: jax.Array):
        """Of the attacked `model`, at the batch size and draws of a suite."""
        self._judge = Judge(model, suite.batch_size, suite.draws)
        self._key = key

    def __call__(
        self,
        arrays: Mapping[str, np.ndarray],
        threats: Mapping[str, Any],
        images: np.ndarray,
        labels: np.ndarray,
        ids: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """`<name>/fooled` bool [n], `<name>/size` float32 [n] of uint8 `arrays`.

        Args:
          arrays: name -> uint8 [n, h, w, c] of all processes.
          threats: name -> the threat that measures the size, or None for no size.
          images: float32 [n, h, w, c], the clean images.
          labels: int32 [n].
          ids: int32 [n].
        """
        found = {}
        for name, stored in arrays.items():
            own = [parallel.process_slice(x) for x in (stored, images, labels, ids)]
            local = own[0].astype(np.float32) / np.float32(255)
            verdict = self._judge.verdict(self._key, local, *own[2:])
            columns: dict[str, np.ndarray] = {"fooled": verdict["margin"] >= 0}
            if threats[name] is not None:
                threat, rows = threats[name], (own[1], local, *own[2:])
                size, _ = self._judge.measured(threat, *rows)
                size = np.full(len(local), np.nan) if size is None else size
                columns["size"] = size.astype(np.float32)
            for key, column in parallel.gather_rows(columns).items():
                found[f"{name}/{key}"] = column
        return found


def told(found: Mapping[str, np.ndarray], table: Any) -> Iterator[str]:
    """A line an attack: what is left of its success, and whether its ball was left."""
    for label in table.attacks:
        success, fooled = table.attack(label, "success"), found[f"{label}/fooled"]
        size, eps = found[f"{label}/size"], table.metadata["attacks"][label]["eps"]
        line = f"{label} as uint8: {np.sum(success & fooled)} of {np.sum(success)} "
        line += "images still break"
        if np.isnan(size).all():
            yield f"{line}; their sizes cannot be measured again"
        else:
            outside = int(np.sum(success & (size > eps * (1 + NETWORK_SLACK))))
            yield f"{line}, {outside} of them leave the budget"


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name to `path` (.npz), whole or not at all."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file, as images.npz")
    with storage.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore
