"""The Python version of CIFAR-10 and CIFAR-100: pickled batches."""

import dataclasses
import gzip
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv import specs
from jaxadv.data.formats.contents import (
    Contents,
    Limited,
    check_labels,
    damaged,
    from_arrays,
)
from jaxadv.files import storage
from jaxadv.files.pickles import Bounded

_TOTAL = 512 << 20  # bytes of an unpacked archive; both have 178 MiB
_MEMBERS = 1000  # of an archive; both have 9 or fewer


@dataclasses.dataclass(frozen=True)
class _Layout:
    """File names, the bytes of the largest file, allowing for other pickle protocols,
    and by field: (key in a batch, key in `meta`, classes)."""

    folder: str
    archive: str
    meta: str
    most: int
    splits: dict[str, tuple[str, ...]]
    fields: dict[str, tuple[str, str, int]]


_LAYOUTS = {
    "cifar10": _Layout(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        meta="batches.meta",
        most=64 << 20,
        splits={
            "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
            "test": ("test_batch",),
        },
        fields={"label": ("labels", "label_names", 10)},
    ),
    "cifar100": _Layout(
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        meta="meta",
        most=256 << 20,
        splits={"train": ("train",), "test": ("test",)},
        fields={
            "label": ("fine_labels", "fine_label_names", 100),
            "coarse_label": ("coarse_labels", "coarse_label_names", 20),
        },
    ),
}


def read_cifar(path: Path, name: str) -> Contents:
    """Reads the batches of CIFAR-10 or CIFAR-100.

    Args:
      path: the archive, the extracted folder, or a folder with one of the two.
      name: "cifar10" or "cifar100".

    Raises:
      specs.UsageError: a file is missing or damaged, or asks to run code.
    """
    layout = _LAYOUTS[name]
    place, raw = _read_files(path, layout)
    batches = {file: _unpickle(data, f"{place}/{file}") for file, data in raw.items()}
    class_names = {}
    for field, (_, key, count) in layout.fields.items():
        found = batches[layout.meta].get(key.encode())
        found = found if isinstance(found, list) else ()
        class_names[field] = tuple(
            n.decode("utf-8", "replace") for n in found if isinstance(n, bytes)
        )
        if len(class_names[field]) != count:
            raise damaged(f"{place}/{layout.meta}", f"it does not hold {count} {key}")
    arrays = {}
    for split, files in layout.splits.items():
        parts = [_columns(batches[f], layout, f"{place}/{f}") for f in files]
        arrays[split] = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
    return from_arrays(arrays, class_names, with_id=True)


def _read_files(path: Path, layout: _Layout) -> tuple[Path, dict[str, bytes]]:
    """Where the files were found, and their bytes."""
    wanted = [layout.meta, *(f for files in layout.splits.values() for f in files)]
    for folder in (path, path / layout.folder):
        if any((folder / name).is_file() for name in wanted):
            files = {
                n: storage.check_file(folder / n, most=layout.most) for n in wanted
            }
            return folder, {name: file.read_bytes() for name, file in files.items()}
    archive = path if path.is_file() else path / layout.archive
    if not archive.is_file():
        raise specs.UsageError(f"{path}: no {layout.archive} or {layout.folder} in it")
    try:
        found = _unpack(archive, wanted, layout.most)
    except Exception as error:  # a damaged archive can raise anything at all
        raise damaged(archive, error or type(error).__name__) from None
    for name in wanted:
        if name not in found:
            raise damaged(archive, f"there is no file {name} in it")
    return archive, found


def _unpack(archive: Path, wanted: list[str], most: int) -> dict[str, bytes]:
    """The bytes of the regular files of an archive that have a wanted name."""
    found = {}
    with open(archive, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(archive) if packed else open(archive, "rb") as file:
        source: Any = file
        limited: Any = Limited(source, most, _TOTAL)
        with tarfile.open(fileobj=limited, mode="r:") as tar:
            for number, member in enumerate(tar):
                name = Path(member.name).name
                # Links may lead nowhere, or out of the archive.
                if name in wanted and member.isreg():
                    if member.size > most:
                        raise OSError(f"{name} has {member.size} bytes")
                    inside: Any = tar.extractfile(member)
                    found[name] = inside.read()
                if number >= _MEMBERS:
                    raise OSError(f"it holds more than {_MEMBERS} files")
    return found


def _empty(kind, shape, code):
    """An array as NumPy begins to rebuild one; its state has its true shape."""
    return np.empty(0, np.uint8)


def _dtype(text, *rest):
    text = text.decode() if isinstance(text, bytes) else text  # of Python 2
    if not isinstance(text, str) or np.dtype(text).hasobject:
        raise pickle.UnpicklingError("it holds an array of objects")
    return np.dtype(text, copy=True)


class _ArraysOnly(Bounded):
    """Reads pickles of plain values and NumPy arrays, and runs nothing else.

    A pickle names functions to call. Given out are only stand-ins for those with
    which NumPy rebuilds an array and Python 3 writes byte strings in old protocols.
    """

    _ALLOWED = {
        ("multiarray", "_reconstruct"): _empty,
        ("numpy", "ndarray"): None,
        ("numpy", "dtype"): _dtype,
        ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            module = "multiarray"
        if (module, name) not in self._ALLOWED:
            return super().find_class(module, name)
        return self._ALLOWED[module, name]


def _unpickle(data: bytes, where: str) -> dict[bytes, Any]:
    try:
        value = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise anything at all
        raise damaged(where, error or type(error).__name__) from None
    if not isinstance(value, dict):
        raise damaged(where, "it is not a CIFAR batch")
    return value


def _columns(batch: dict[bytes, Any], layout: _Layout, where: str):
    """The images [n, 32, 32, 3] and the labels [n] of a batch."""
    data = batch.get(b"data")
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.ndim != 2
        or data.shape[1] != 3072
    ):
        raise damaged(where, "its data is no uint8 array with rows of 3072")
    columns = {"image": data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)}
    for field, (key, _, count) in layout.fields.items():
        labels = batch.get(key.encode())
        if not isinstance(labels, list) or not all(isinstance(v, int) for v in labels):
            raise damaged(where, f"its {key} is no list of integers")
        if not all(0 <= label < count for label in labels):
            raise damaged(where, f"its {key} are not within 0..{count - 1}")
        columns[field] = np.asarray(labels, np.int64)
        check_labels(columns[field], len(data), count, where)
    return columns
