"""Weight files as PyTorch writes them, made by a pickler that names its functions."""

import collections
import contextlib
import io
import pickle
import sys
import types
import unittest.mock
import zipfile

import numpy as np
import pytest

from jaxadv.specs import UsageError


def fails(function, *args, match=None):
    """The one line of the UsageError that a call must raise."""
    with pytest.raises(UsageError, match=match) as error:
        function(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


class FloatStorage:
    """Stands for PyTorch's class of this name while a file is written."""

    def __init__(self, key, count):
        self.key, self.count = key, count


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, {})

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, FloatStorage):
            return "storage", FloatStorage, obj.key, "cpu", obj.count
        return None


@contextlib.contextmanager
def torch_names():
    def rebuild(*_):
        raise AssertionError("only named, never called")

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    FloatStorage.__module__, FloatStorage.__qualname__ = "torch", "FloatStorage"
    utils._rebuild_tensor_v2, torch.FloatStorage = rebuild, FloatStorage  # type: ignore
    fakes = {"torch": torch, "torch._utils": utils}
    with unittest.mock.patch.dict(sys.modules, fakes):
        yield


def write_zip(path, payload, storages, compression=zipfile.ZIP_STORED):
    """`storages`: key -> float32 values."""
    buffer = io.BytesIO()
    with torch_names():
        _Pickler(buffer, protocol=2).dump(payload)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, values in storages.items():
            archive.writestr(f"archive/data/{key}", values.tobytes())
    return path


def write_state(path, tensors, wrap=lambda state: state):
    """A state dict of float32 arrays, one storage each; `wrap` puts it into more."""
    storages = {str(i): np.float32(v) for i, v in enumerate(tensors.values())}
    state = collections.OrderedDict()
    for (key, values), name in zip(storages.items(), tensors, strict=True):
        strides = tuple(step // 4 for step in values.strides)
        storage = FloatStorage(key, values.size)
        state[name] = Tensor(storage, 0, values.shape, strides)
    return write_zip(path, wrap(state), storages)
