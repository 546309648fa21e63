"""The readers of weight files: PyTorch's two formats, hostile and damaged files."""

import contextlib
import pickle
import zipfile

import hypothesis
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from jaxadv import weights
from jaxadv.specs import UsageError
from tests.paths import GOLDEN
from tests.weights.pickled import FloatStorage, Tensor, fails, write_state, write_zip

# Files that PyTorch wrote (golden/make_files.py)


def mixed():
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    return {
        "float64": np.array([0, 0.5, 1.0]),
        "float16": np.array([[0, 0.25], [0.5, 0.75]], np.float16),
        "bfloat16": np.array([0, 1.5, 3.0], np.float32),
        "int64": np.array([-1, 0]),
        "int32": np.array([0, 1], np.int32),
        "int16": np.array([0, 1], np.int16),
        "int8": np.array([-1, 0], np.int8),
        "uint8": np.array([254, 255], np.uint8),
        "bool": np.array([True, False, True]),
        "whole": whole,
        "part": whole[1:3, 2:5],
        "transposed": whole.T,
        "every_second": whole[::2, 1::2],
        "repeated": np.array([[7, 8]] * 3, np.float32),
        "scalar": np.float32(2.5),
        "empty": np.zeros((0, 3), np.float32),
        "parameter": np.array([0, 1], np.float32),
    }


@pytest.mark.parametrize("name", ["mixed_zip.pth", "mixed_legacy.pth"])
def test_both_formats_of_pytorch_are_read(name):
    found, expected = weights.read(GOLDEN / name), mixed()
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, key
        np.testing.assert_array_equal(found[key], value, err_msg=key, strict=True)


def test_a_robustness_checkpoint_is_unwrapped():
    found = weights.read(GOLDEN / "robustness.pt")
    assert list(found) == ["fc.weight", "fc.bias"]
    np.testing.assert_array_equal(found["fc.weight"], np.arange(6.0).reshape(3, 2))


def test_a_pickled_module_is_told_to_be_saved_otherwise():
    message = fails(weights.read, GOLDEN / "whole_module.pt")
    assert "whole_module.pt holds no state dict" in message and "torch.save" in message


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(
    offset=st.integers(0, 5),
    shape=st.lists(st.integers(0, 3), max_size=3),
    strides=st.lists(st.integers(0, 6), min_size=3, max_size=3),
)
def test_strides_offsets_and_bounds(tmp_path_factory, offset, shape, strides):
    path = tmp_path_factory.mktemp("strided") / "x.pth"
    strides, values = strides[: len(shape)], np.arange(12, dtype=np.float32)
    tensor = Tensor(FloatStorage("0", 12), offset, tuple(shape), tuple(strides))
    write_zip(path, {"x": tensor}, {"0": values})
    places = offset + sum(
        np.indices(shape)[axis] * step for axis, step in enumerate(strides)
    )
    if np.size(places) and np.max(places) >= 12:
        assert "x.pth is damaged" in fails(weights.read, path, match="needs .* numbers")
    else:
        np.testing.assert_array_equal(
            weights.read(path)["x"], np.float32(places), strict=False
        )


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(-1, (2,), (1,)), (0, (-2,), (1,)), (3, (2,), (-1,)), (0, (2, 2), (1,))],
)
def test_impossible_tensors_are_refused(tmp_path, offset, shape, strides):
    tensor = Tensor(FloatStorage("0", 4), offset, shape, strides)
    path = write_zip(tmp_path / "x.pth", {"x": tensor}, {"0": np.zeros(4, np.float32)})
    assert str(path) in fails(weights.read, path, match="is damaged")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 1},
        lambda state: {"best": state["fc.weight"], "net": state, "acc": 0.5},
        lambda state: {"model": None, "fc.weight": state["fc.weight"]},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {f"module.{k}": v for k, v in state.items()},
        lambda state: {f"module.model.{k}": v for k, v in state.items()},
    ],
)
def test_wherever_the_tensors_are(tmp_path, wrap):
    tensor = Tensor(FloatStorage("0", 2), 0, (2,), (1,))
    state = wrap({"fc.weight": tensor})
    path = write_zip(tmp_path / "x.pt", state, {"0": np.ones(2, np.float32)})
    assert list(weights.read(path)) == ["fc.weight"]


def test_layers_that_perceptual_advex_lists_twice_are_dropped(tmp_path):
    one = np.ones(1, np.float32)
    names = ("model.features.0.weight", "model.classifier.1.weight",
             "layer1.0.0.weight", "layer2.0.1.weight")  # fmt: skip
    path = write_state(tmp_path / "x.pt", dict.fromkeys(names, one))
    assert list(weights.read(path)) == ["features.0.weight", "classifier.1.weight"]
    path = write_state(
        tmp_path / "y.pt", {"layer1.0.conv1.weight": one, "fc.bias": one}
    )
    assert list(weights.read(path)) == ["layer1.0.conv1.weight", "fc.bias"]


def test_a_file_without_tensors_lists_what_it_has(tmp_path):
    path = write_zip(tmp_path / "x.pth", {"epoch": 3, "model": {"lr": 0.1}}, {})
    assert "at its top, but lr;" in fails(weights.read, path)
    endless = {}
    endless["model"] = endless
    path = write_zip(tmp_path / "y.pth", endless, {})
    assert "at its top, but model;" in fails(weights.read, path)


# Hostile and damaged files


class _Hostile:
    """Unpickled as usual, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def with_hostile_pickle(source, target, attack):
    """A copy of a zip file whose pickle first runs `attack`, then is as before."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                # Protocol marker, call, pop its result, and the rest as it was.
                data = attack[:2] + attack[2:-1] + b"0" + data[2:]
            new.writestr(name, data)
    return target


def test_hostile_pickles_do_not_run(tmp_path):
    mark = tmp_path / "mark"
    attack = pickle.dumps(_Hostile(mark), protocol=2)
    pickle.loads(attack).close()
    assert mark.exists()  # the attack works, where it may
    mark.unlink()
    path = with_hostile_pickle(GOLDEN / "mixed_zip.pth", tmp_path / "h.pth", attack)
    assert list(weights.read(path)) == list(mixed())
    plain = tmp_path / "plain.pth"
    plain.write_bytes(attack)
    fails(weights.read, plain, match="plain.pth is damaged or no PyTorch file")
    zipped = write_zip(tmp_path / "z.pth", {"state_dict": _Hostile(mark)}, {})
    fails(weights.read, zipped, match="z.pth holds no")
    path = with_hostile_pickle(
        GOLDEN / "mixed_zip.pth",
        tmp_path / "s.pth",
        pickle.dumps(0, protocol=2)[:2]
        + b"cos\nsystem\n"
        + pickle.dumps(f"touch {mark}", protocol=2)[2:-1]
        + b"\x85R.",
    )
    assert list(weights.read(path)) == list(mixed())
    assert not mark.exists()


def test_a_pickle_cannot_change_the_reader(tmp_path):
    """BUILD sets attributes of what it is given: here of the tensor function."""
    attack = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
        + b"}"
        + pickle.dumps("__defaults__", protocol=2)[2:-1]
        + b"Nsb."
    )
    path = with_hostile_pickle(GOLDEN / "mixed_zip.pth", tmp_path / "b.pth", attack)
    for _ in range(2):
        with contextlib.suppress(UsageError):
            weights.read(path)
    test_both_formats_of_pytorch_are_read("mixed_zip.pth")


@pytest.mark.parametrize("name", ["mixed_zip.pth", "mixed_legacy.pth"])
def test_truncated_files(tmp_path, name):
    data = (GOLDEN / name).read_bytes()
    for size in [0, 1, 2, 10, *range(50, len(data) - 1, len(data) // 12)]:
        path = tmp_path / name
        path.write_bytes(data[:size])
        assert str(path) in fails(weights.read, path, match="is damaged")


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@pytest.mark.parametrize("name", ["mixed_zip.pth", "mixed_legacy.pth", "robustness.pt"])
def test_flipped_bits_never_raise_anything_else(tmp_path_factory, name, place, bit):
    data = bytearray((GOLDEN / name).read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path = tmp_path_factory.mktemp("flipped") / name
    path.write_bytes(data)
    try:
        weights.read(path)
    except UsageError as error:
        assert "\n" not in str(error) and str(path) in str(error)


def test_foreign_and_absent_files(tmp_path):
    for name, data in [("x.pth", b"hello"), ("x.safetensors", b"hello" * 9)]:
        path = tmp_path / name
        path.write_bytes(data)
        assert str(path) in fails(weights.read, path, match="is damaged or no")
    fails(weights.read, tmp_path, match="is no file")
    fails(weights.read, tmp_path / "absent.pth", match="absent.pth is no file")
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("word/document.xml", "x")
    fails(weights.read, tmp_path / "w.pth", match="holds no data.pkl")
    packed = tmp_path / "c.pth"
    tensor = Tensor(FloatStorage("0", 4), 0, (4,), (1,))
    storages = {"0": np.zeros(4, np.float32)}
    write_zip(packed, {"x": tensor}, storages, zipfile.ZIP_DEFLATED)
    fails(weights.read, packed, match="is compressed")


def test_safetensors_are_read(tmp_path):
    path = tmp_path / "x.safetensors"
    values = np.arange(4, dtype=np.float32).reshape(2, 2)
    safetensors.numpy.save_file(
        {"module.a": values, "module.b": values.astype(ml_dtypes.bfloat16)}, path
    )
    found = weights.read(path)
    np.testing.assert_array_equal(found["a"], values, strict=True)
    np.testing.assert_array_equal(found["b"], values, strict=True)
