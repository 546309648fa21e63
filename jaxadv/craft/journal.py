"""Finished examples on disk, so that a killed evaluation loses at most seconds.

A journal is a folder of small `.npz` shards, each written whole to a temporary
name and then renamed, with a checksum; reading takes every sound shard that is there.
"""

import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxadv.files import checksums, storage

_SUM = "checksum"


class Journal:
    """Keeps rows of a pytree of arrays under example ids.

    Attributes:
      folder: where the shards lie.
      every_seconds: how long rows wait in memory, at most until the next `write`.
    """

    def __init__(self, folder: str | os.PathLike, every_seconds: float = 5.0):
        self.folder = Path(folder)
        self._every = every_seconds
        self._pending: list[tuple[np.ndarray, list[np.ndarray]]] = []
        self._written = time.monotonic()

    def load(self, ids: np.ndarray, like: Any) -> Mapping[int, Any]:
        """Position in `ids` -> leaves of the row, for the examples that are there.

        A shard that is damaged, or holds rows unlike `like` (a pytree of arrays
        [n, …]), is passed over with a warning: its examples count as unfinished.
        """
        self._remove_temporary()
        position = {int(example): i for i, example in enumerate(ids)}
        known = {}
        for path in sorted(self.folder.glob("*.npz")):
            try:
                found, columns = _read(path, jax.tree.leaves(like))
            except Exception as error:  # zipfile and numpy raise what they like
                reason = (str(error) or type(error).__name__).splitlines()[0]
                warnings.warn(
                    f"{path} is damaged and is passed over, its examples are attacked "
                    f"again: {reason}",
                    stacklevel=2,
                )
                continue
            for row, example in enumerate(found):
                if int(example) in position:
                    known[position[int(example)]] = [column[row] for column in columns]
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
        arrays["ids"] = ids
        arrays[_SUM] = np.uint32(checksums.checksum(arrays))
        name = f"{jax.process_index():03d}-{time.time_ns()}"
        with storage.replacing(self.folder / f"{name}.npz") as temporary:
            with open(temporary, "wb") as file:
                np.savez(file, **arrays)
        self._pending = []
        self._written = time.monotonic()

    def _remove_temporary(self):
        """Removes what a kill has left of this process, or of one that is no more."""
        others = {f"{i:03d}" for i in range(jax.process_count())}
        others.discard(f"{jax.process_index():03d}")
        for path in (*self.folder.glob("*.tmp"), *self.folder.glob(".*.tmp*")):
            if path.name.lstrip(".").partition("-")[0] not in others:
                path.unlink(missing_ok=True)


def _read(path, like):
    """Ids and columns of a shard; raises where something is wrong with it."""
    # NumPy leaves a damaged file open that it has opened itself.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as shard:
        arrays = {name: shard[name] for name in shard.files}
    kept = arrays.pop(_SUM, None)  # older shards have none
    if kept is not None and int(kept) != checksums.checksum(arrays):
        raise ValueError("its checksum is wrong")
    ids = arrays["ids"]
    columns = [arrays[f"leaf{i}"] for i in range(len(like))]
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"its ids are {ids.dtype} {ids.shape}")
    for column, wanted in zip(columns, like, strict=True):
        shape = (len(ids), *wanted.shape[1:])
        if column.shape != shape or column.dtype != wanted.dtype:
            raise ValueError(
                f"it holds {column.dtype} {column.shape} in place of "
                f"{wanted.dtype} {shape}"
            )
    if len(arrays) != 1 + len(like):
        raise ValueError(f"it holds {len(arrays)} arrays in place of {1 + len(like)}")
    return ids, columns
