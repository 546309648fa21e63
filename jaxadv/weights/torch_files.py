"""Reads PyTorch's `.pth` files without PyTorch, and without running what they hold.

Such a file is a pickle, which may name any function to be called, beside the raw
numbers of its tensors. Here only dictionaries and tensors are interpreted; whatever
else is named becomes a placeholder that does nothing.
"""

import collections
import dataclasses
import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxadv import specs

DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001


class Damaged(Exception):
    """The file is no PyTorch file, or a part of it is missing or inconsistent."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of numbers in the file, named by its key there.

    Attributes:
      key: its name.
      dtype: of the numbers.
      start: first number that belongs to it, where it is a part of another one.
    """

    key: str
    dtype: Any
    start: int = 0


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor as the file describes it; its numbers are still in the file.

    Attributes:
      storage: where its numbers lie.
      offset: place of its first number in the storage.
      shape: its shape.
      strides: distance of neighbors along each axis, in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> tuple[Any, Callable[[Tensor], np.ndarray]]:
    """What a PyTorch file holds, with its tensors still to be fetched.

    Reads the zip files of PyTorch 1.6 and later and the older ones.

    Returns:
      The object that was saved, with a `Tensor` in place of each tensor and inert
      placeholders in place of foreign objects; and a function that maps a `Tensor`
      to a read-only array. Its bfloat16 numbers come as float32.

    Raises:
      UsageError: the file is damaged or no PyTorch file.
    """
    try:
        with open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                payload, numbers = _read_zip(path)
            else:
                file.seek(0)
                payload, numbers = _read_legacy(file)
    # A damaged pickle may raise anything at all.
    except Exception as error:
        raise _unreadable(path, error) from error

    def fetch(tensor: Tensor) -> np.ndarray:
        try:
            return _strided(tensor, numbers(tensor.storage))
        except Exception as error:
            raise _unreadable(path, error) from error

    return payload, fetch


def _unreadable(path, error):
    if isinstance(error, OSError) and error.strerror:
        return specs.UsageError(f"{path} cannot be read: {error.strerror}")
    reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
    return specs.UsageError(
        f"{path} is damaged or no PyTorch file: {reason}; fetch it again, or save it "
        "with torch.save(model.state_dict(), path)"
    )


def _read_zip(path):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        found = [n for n in names if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(found) != 1:
            raise Damaged("the zip file holds no data.pkl")
        root = found[0].removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in names and _entry(archive, order) != b"little":
            raise Damaged("its numbers are big-endian")
        payload = _unpickle(io.BytesIO(_entry(archive, found[0])))

    def numbers(storage):
        with zipfile.ZipFile(path) as archive:
            return _entry(archive, f"{root}data/{storage.key}")

    return payload, numbers


def _entry(archive, name):
    info = archive.getinfo(name)
    # PyTorch never compresses; a tiny entry could unpack to any size.
    if info.compress_type != zipfile.ZIP_STORED:
        raise Damaged(f"its entry {name} is compressed")
    return archive.read(info)


def _read_legacy(file):
    if _unpickle(file) != _LEGACY_MAGIC:
        raise Damaged("it does not start as a PyTorch file")
    if _unpickle(file) != _LEGACY_VERSION:
        raise Damaged("its format is neither the zip format nor version 1001")
    if not _unpickle(file).get("little_endian", True):
        raise Damaged("its numbers are big-endian")
    storages: dict[str, Storage] = {}
    payload = _unpickle(file, storages)
    places = {}
    for key in _unpickle(file):
        (count,) = struct.unpack("<q", file.read(8))
        size = count * np.dtype(storages[key].dtype).itemsize
        places[key] = (file.tell(), size)
        file.seek(size, io.SEEK_CUR)
    path = file.name

    def numbers(storage):
        start, size = places[storage.key]
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(size)

    return payload, numbers


def _strided(tensor: Tensor, data: bytes) -> np.ndarray:
    """The view of `data` that a tensor is; read-only, as its numbers may overlap."""
    dtype = np.dtype(tensor.storage.dtype)
    values = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
    first = tensor.storage.start + tensor.offset
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = first + sum((size - 1) * stride for size, stride in steps)
    if min((first, *tensor.shape, *tensor.strides)) < 0:
        raise Damaged("a tensor has a negative offset, size or stride")
    if math.prod(tensor.shape) == 0:
        return np.zeros(tensor.shape, dtype)
    if last >= len(values):
        raise Damaged(
            f"a tensor of shape {tensor.shape} needs {last + 1} numbers of storage "
            f"{tensor.storage.key}, which has {len(values)}"
        )
    if dtype == jnp.bfloat16:
        values, dtype = values.astype(np.float32), np.dtype(np.float32)
    return np.lib.stride_tricks.as_strided(
        values[first:],
        tensor.shape,
        [stride * dtype.itemsize for stride in tensor.strides],
        writeable=False,
    )


def _unpickle(file, storages: dict[str, Storage] | None = None) -> Any:
    """The next pickled object of `file`; its storages are added to `storages`."""
    known, placeholder = _interpreted(), _placeholder()

    class Restricted(pickle.Unpickler):
        def find_class(self, module, name):
            return known.get((module, name), placeholder)

        def persistent_load(self, pid):
            kind, dtype, key, _, _, *view = pid
            if kind != "storage" or not isinstance(dtype, np.dtype):
                raise Damaged(f"it refers to an unknown {kind!r}")
            storage = Storage(str(key), dtype)
            if storages is not None:
                storages[storage.key] = storage
            start = int(view[0][1]) if view and view[0] else 0
            return dataclasses.replace(storage, start=start)

    # PyTorch's own choice for the strings of Python 2.
    return Restricted(file, encoding="utf-8").load()


def _interpreted():
    """What a pickle may name, made anew: a pickle could set attributes of it."""

    def tensor(storage, offset, shape, strides, *_):
        return Tensor(
            storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides))
        )

    def parameter(data, *_):
        return data

    return {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
        **{("torch", name): np.dtype(dtype) for name, dtype in DTYPES.items()},
    }


def _placeholder():
    """A class for foreign objects, made anew for the same reason."""

    class Placeholder:
        """Stands for a foreign object: takes whatever it is given, does nothing."""

        def __new__(cls, *args, **kwargs):
            return object.__new__(cls)

        def __init__(self, *args, **kwargs):
            pass

        def __call__(self, *args, **kwargs):
            return self

        def __setstate__(self, state):
            pass

        def __setitem__(self, key, value):
            pass

        def append(self, value):
            pass

        def extend(self, values):
            pass

    return Placeholder
