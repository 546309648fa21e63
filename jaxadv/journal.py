"""Finished examples on disk, so that a killed evaluation loses at most seconds.

A journal is a folder of small `.npz` shards, each written whole to a temporary
name and then renamed; reading takes every shard that is there.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxadv import storage


class Journal:
    """Keeps rows of a pytree of arrays under example ids.

    Attributes:
      folder: where the shards lie.
      like: a pytree whose leaves' order names the columns.
    """

    def __init__(self, folder: str | os.PathLike, every_seconds: float = 5.0):
        self.folder = Path(folder)
        self._every = every_seconds
        self._pending: list[tuple[np.ndarray, list[np.ndarray]]] = []
        self._written = time.monotonic()
        self._treedef: Any = None

    def load(self, ids: np.ndarray) -> Mapping[int, Any]:
        """Position in `ids` -> leaves of the row, for the examples that are there."""
        position = {int(example): i for i, example in enumerate(ids)}
        known = {}
        for path in sorted(self.folder.glob("*.npz")):
            with np.load(path) as shard:
                columns = [shard[f"leaf{i}"] for i in range(len(shard.files) - 1)]
                for row, example in enumerate(shard["ids"]):
                    if int(example) in position:
                        leaves = [column[row] for column in columns]
                        known[position[int(example)]] = leaves
        return known

    def write(self, ids: np.ndarray, rows: Any) -> None:
        """Adds rows [k, …]; they reach the disk a few seconds later."""
        leaves = [np.array(leaf) for leaf in jax.tree.leaves(rows)]
        self._pending.append((np.array(ids), leaves))
        if time.monotonic() - self._written > self._every:
            self.flush()

    def flush(self) -> None:
        """Writes what is pending, whole or not at all."""
        if not self._pending:
            return
        ids = np.concatenate([ids for ids, _ in self._pending])
        columns = zip(*(leaves for _, leaves in self._pending), strict=True)
        arrays: dict[str, Any] = {
            f"leaf{i}": np.concatenate(c) for i, c in enumerate(columns)
        }
        name = f"{jax.process_index():03d}-{time.time_ns()}"
        with storage.replacing(self.folder / f"{name}.npz") as temporary:
            with open(temporary, "wb") as file:
                np.savez(file, ids=ids, **arrays)
                file.flush()
                os.fsync(file.fileno())
        self._pending = []
        self._written = time.monotonic()
