"""What every reader returns, and the checks that readers share."""

import dataclasses
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxadv import specs

# What damaged gzip, tar and plain files raise when they are read.
DAMAGED = (OSError, EOFError, zlib.error, tarfile.TarError)


class Limited:
    """What tarfile reads, which is refused beyond a place and above a size.

    A few bytes can unpack to any number, of which tarfile keeps some in memory.

    Attributes:
      file: what is read, opened in binary mode.
      most: bytes of one reading.
      total: bytes in all.
    """

    def __init__(self, file: Any, most: int, total: int):
        self._file, self._most, self._total = file, most, total
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        """The next bytes; raises OSError where they are too many."""
        start = self.tell()
        self._check(0 <= size <= self._most and start + size <= self._total)
        return self._file.read(size)

    def seek(self, place: int) -> int:
        """Goes to a place; raises OSError where it is too far."""
        self._check(place <= self._total)
        return self._file.seek(place)

    def _check(self, fits):
        if not fits:
            raise OSError(f"it unpacks to more than {self._total >> 20} MiB")


@dataclasses.dataclass(frozen=True)
class Contents:
    """A data set found in files.

    Small sets are read and checked when this is made; the images of a folder
    tree are opened one by one, while the examples are taken.

    Attributes:
      shape: (height, width, channels) of every image, or None where it varies.
      class_names: by field: "label", and for CIFAR-100 also "coarse_label".
      splits: by name, a function that gives pairs of key and example. An example
        has one value for each field and text, and `image`: uint8 [h, w, c] where
        `shape` is given, else the bytes of an encoded image.
      text: the names of text features.
      masked: examples also have `mask`, uint8 [h, w, 1], 1 on the foreground; only
        where `shape` is given.
    """

    shape: tuple[int, int, int] | None
    class_names: dict[str, tuple[str, ...]]
    splits: dict[str, Callable[[], Iterator[tuple[Any, dict[str, Any]]]]]
    text: tuple[str, ...] = ()
    masked: bool = False


def from_arrays(
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    class_names: dict[str, tuple[str, ...]],
    *,
    with_id: bool,
) -> Contents:
    """Contents of columns by split: `image` [n, h, w, c] and labels [n].

    Keys are row numbers, and ids are made of split and row, as the public
    builders do.
    """

    def examples(split):
        for row in range(len(arrays[split]["image"])):
            example = {"image": arrays[split]["image"][row]}
            for field in class_names:
                example[field] = int(arrays[split][field][row])
            if with_id:
                example["id"] = f"{split}_{row:05d}"
            yield row, example

    return Contents(
        shape=next(iter(arrays.values()))["image"].shape[1:],
        class_names=class_names,
        splits={split: lambda split=split: examples(split) for split in arrays},
        text=("id",) if with_id else (),
    )


def check_labels(labels: np.ndarray, images: int, classes: int, file) -> None:
    """Raises a UsageError unless there is one label in range for each image."""
    if len(labels) != images or images == 0:
        raise damaged(file, f"there are {len(labels)} labels for {images} images")
    for value in (labels.min(), labels.max()):
        if not 0 <= value < classes:
            raise damaged(file, f"label {value} is not within 0..{classes - 1}")


def damaged(file, reason) -> specs.UsageError:
    """The error for a file whose contents cannot be used."""
    reason = str(reason).strip().partition("\n")[0]
    return specs.UsageError(f"{file}: {reason}; replace the file with a sound copy")
