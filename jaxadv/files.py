"""What is written is whole or absent, and checked when it is read again.

All checksums are CRC-32: they tell accidents (a flipped bit, a lost part, an edit by
hand), at the speed of the disk, and no forgery.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

_BLOCK = 1 << 22  # bytes read at a time


def checksum(tree: Any) -> int:
    """Of a pytree of arrays: the paths, types, shapes and values of its leaves."""
    total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        leaf = np.asarray(leaf)
        header = f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}"
        total = zlib.crc32(header.encode(), total)
        total = zlib.crc32(leaf.tobytes(), total)
    return total


def checksum_json(content: Any) -> int:
    """Of what JSON makes of `content`, whatever the order of its keys."""
    text = json.dumps(json.loads(json.dumps(content)), sort_keys=True)
    return zlib.crc32(text.encode())


def checksum_file(
    path: str | os.PathLike, progress: Callable[[int], Any] = lambda count: None
) -> int:
    """Of a file's bytes; `progress` is called with the number of bytes just read."""
    total = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            total = zlib.crc32(block, total)
            progress(len(block))
    return total


@contextlib.contextmanager
def replaced(path: str | os.PathLike) -> Iterator[Path]:
    """A name to write to, which takes the place of `path` when the block ends well.

    The content is on the disk before the name is, so that not even a power failure
    leaves half a file. A kill leaves the temporary name; see `remove_temporary`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(folder: Path) -> None:
    """Removes what killed writers of `replaced` have left in `folder`.

    Only for whoever holds the folder's lock: a writer at work would lose its file.
    """
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
