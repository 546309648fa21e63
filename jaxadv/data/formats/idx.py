"""The IDX files of MNIST and Fashion-MNIST."""

import gzip
import struct
from pathlib import Path

import numpy as np

from jaxadv import specs
from jaxadv.data.formats.contents import (
    DAMAGED,
    Contents,
    check_labels,
    damaged,
    from_arrays,
)

_PREFIXES = {"train": "train", "test": "t10k"}
_MOST = 64 << 20  # bytes of a file; the largest, of 60,000 images, has 45 MiB
_CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}


def read_idx(path: Path, name: str) -> Contents:
    """Reads the four IDX files of a data set, plain or gzipped.

    Args:
      path: the folder that holds them, or the parent of such a folder `raw`.
      name: "mnist" or "fashion_mnist"; the files do not tell which they are.

    Raises:
      specs.UsageError: a file is missing or damaged.
    """
    classes = _CLASSES[name]
    arrays = {}
    for split, prefix in _PREFIXES.items():
        images_file = _find(path, f"{prefix}-images", "idx3-ubyte")
        labels_file = _find(path, f"{prefix}-labels", "idx1-ubyte")
        images, labels = _array(images_file, 3), _array(labels_file, 1)
        if images.shape[1:] != (28, 28):
            height, width = images.shape[1:]
            raise damaged(images_file, f"images are {height} x {width}, not 28 x 28")
        check_labels(labels, len(images), len(classes), labels_file)
        arrays[split] = {"image": images[..., None], "label": labels}
    return from_arrays(arrays, {"label": classes}, with_id=False)


def _find(path: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{dot}{kind}{gz}" for dot in "-." for gz in ("", ".gz")]
    for folder in (path, path / "raw"):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise specs.UsageError(
        f"{path / names[0]}: the file is missing, and so is {names[1]}"
    )


def _array(file: Path, rank: int) -> np.ndarray:
    try:
        with gzip.open(file) if file.suffix == ".gz" else open(file, "rb") as opened:
            data = opened.read(_MOST + 1)
    except DAMAGED as error:
        raise damaged(file, error) from None
    if len(data) > _MOST:
        raise damaged(file, f"it holds more than {_MOST >> 20} MiB")
    start = 4 + 4 * rank
    if len(data) < start or data[:4] != bytes((0, 0, 8, rank)):
        raise damaged(file, f"it is no IDX file of unsigned bytes with {rank} axes")
    shape = struct.unpack(f">{rank}I", data[4:start])
    if len(data) - start != np.prod(shape, dtype=np.int64):
        raise damaged(file, f"it holds {len(data) - start} bytes, not those of {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
