"""What is written is checked when it is read again.

All checksums are CRC-32: they tell accidents (a flipped bit, a lost part, an edit by
hand), at the speed of the disk, and no forgery.
"""

import json
import os
import zlib
from collections.abc import Callable
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
