"""Reads PyTorch's `.pth` files without PyTorch, and without running what they hold.

Such a file is a pickle, which may name any function to be called, beside the raw
numbers of its tensors. Here only dictionaries and tensors are interpreted; whatever
else is named becomes a placeholder that does nothing.
"""

import collections
import functools
import io
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxadv import specs
from jaxadv.files import pickles

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
_REPEATED = 1_000_000  # so many numbers may a tensor have that its storage has not
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001


class Damaged(Exception):
    """The file is no PyTorch file, or a part of it is missing or inconsistent."""


class Storage(NamedTuple):
    """A run of numbers in the file, named by its key there.

    Attributes:
      key: its name.
      dtype: of the numbers.
      start: first number that belongs to it, where it is a part of another one.
    """

    key: str
    dtype: Any
    start: int = 0


class Tensor(NamedTuple):
    """A tensor as the file describes it; its numbers are still in the file.

    Named tuples, these are what no pickle can change once they are made.

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

    @functools.cache  # many tensors may be views of one storage
    def values(key, dtype):
        data = numbers(key)
        whole = len(data) // dtype.itemsize * dtype.itemsize
        found = np.frombuffer(memoryview(data)[:whole], dtype)
        return found.astype(np.float32) if dtype == jnp.bfloat16 else found

    def fetch(tensor: Tensor) -> np.ndarray:
        try:
            storage = tensor.storage
            return _strided(tensor, values(storage.key, np.dtype(storage.dtype)))
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

    def numbers(key):
        with zipfile.ZipFile(path) as archive:
            return _entry(archive, f"{root}data/{key}")

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

    def numbers(key):
        start, size = places[key]
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(size)

    return payload, numbers


def _strided(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """The view of a storage that a tensor is; read-only, as its numbers may overlap."""
    dtype = values.dtype
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
    if math.prod(tensor.shape) > max(len(values), _REPEATED):
        raise Damaged(f"a tensor of shape {tensor.shape} repeats {len(values)} numbers")
    return np.lib.stride_tricks.as_strided(
        values[first:],
        tensor.shape,
        [stride * dtype.itemsize for stride in tensor.strides],
        writeable=False,
    )


def _unpickle(file, storages: dict[str, Storage] | None = None) -> Any:
    """The next pickled object of `file`; its storages are added to `storages`."""
    known, placeholder = _interpreted(), _placeholder()
    # An object of no attributes stands for each dtype: a pickle cannot change it.
    dtypes = {object(): np.dtype(dtype) for dtype in DTYPES.values()}
    known |= {
        ("torch", name): token for name, token in zip(DTYPES, dtypes, strict=True)
    }

    class Restricted(pickles.Bounded):
        def find_class(self, module, name):
            return known.get((module, name), placeholder)

        def persistent_load(self, pid):
            kind, token, key, _, _, *view = pid
            if kind != "storage" or type(token) is not object or token not in dtypes:
                raise Damaged("it refers to something that is no storage of numbers")
            if not isinstance(key, (str, int)):
                raise Damaged("a storage has no name")
            storage = Storage(str(key), dtypes[token])
            if storages is not None:
                storages[storage.key] = storage
            return storage._replace(start=int(view[0][1]) if view and view[0] else 0)

    # PyTorch's own choice for the strings of Python 2.
    return Restricted(file, encoding="utf-8").load()


def _interpreted() -> dict[tuple[str, str], Any]:
    """What a pickle may name, made anew: a pickle could set attributes of it."""

    def tensor(storage, offset, shape, strides, *_):
        if not isinstance(storage, Storage):
            raise Damaged("a tensor has no storage")
        return Tensor(
            storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides))
        )

    def parameter(data, *_):
        return data

    def ordered(pairs=()):
        pairs = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
        pickles.check_keys(key for key, _ in pairs)
        return collections.OrderedDict(pairs)

    return {
        ("collections", "OrderedDict"): ordered,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
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
