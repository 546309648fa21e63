"""Weight files: the readers, hostile and damaged files, conversion, our own form."""

import collections
import contextlib
import io
import pickle
import sys
import types
import unittest.mock
import zipfile

import hypothesis
import hypothesis.strategies as st
import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from jaxadv import weights
from jaxadv.models import MODELS
from jaxadv.specs import UsageError
from jaxadv.weights import __main__ as command
from tests.paths import GOLDEN


def fails(function, *args, match=None):
    """The one line of the UsageError that a call must raise."""
    with pytest.raises(UsageError, match=match) as error:
        function(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


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


# Files made here, by a pickler that names PyTorch's functions


class _FloatStorage:
    """Stands for PyTorch's class of this name while a file is written."""

    def __init__(self, key, count):
        self.key, self.count = key, count


class _Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, {})

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, _FloatStorage):
            return "storage", _FloatStorage, obj.key, "cpu", obj.count
        return None


@contextlib.contextmanager
def torch_names():
    def rebuild(*_):
        raise AssertionError("only named, never called")

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    _FloatStorage.__module__, _FloatStorage.__qualname__ = "torch", "FloatStorage"
    utils._rebuild_tensor_v2, torch.FloatStorage = rebuild, _FloatStorage  # type: ignore
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


def write_state(path, tensors):
    """A state dict of float32 arrays, one storage each."""
    storages = {str(i): np.float32(v) for i, v in enumerate(tensors.values())}
    state = collections.OrderedDict()
    for (key, values), name in zip(storages.items(), tensors, strict=True):
        strides = tuple(step // 4 for step in values.strides)
        storage = _FloatStorage(key, values.size)
        state[name] = _Tensor(storage, 0, values.shape, strides)
    return write_zip(path, state, storages)


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(
    offset=st.integers(0, 5),
    shape=st.lists(st.integers(0, 3), max_size=3),
    strides=st.lists(st.integers(0, 6), min_size=3, max_size=3),
)
def test_strides_offsets_and_bounds(tmp_path_factory, offset, shape, strides):
    path = tmp_path_factory.mktemp("strided") / "x.pth"
    strides, values = strides[: len(shape)], np.arange(12, dtype=np.float32)
    tensor = _Tensor(_FloatStorage("0", 12), offset, tuple(shape), tuple(strides))
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
    tensor = _Tensor(_FloatStorage("0", 4), offset, shape, strides)
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
    tensor = _Tensor(_FloatStorage("0", 2), 0, (2,), (1,))
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
    tensor = _Tensor(_FloatStorage("0", 4), 0, (4,), (1,))
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


# Conversion: the foreign layouts, written out here once more


def norm(name, channels):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{k}": (channels,) for k in kinds} | {
        f"{name}.num_batches_tracked": ()
    }


def resnet_shapes(blocks, bottleneck, shortcut, head, stem, width=2):
    shapes = {"conv1.weight": (width, 3, stem, stem), **norm("bn1", width)}
    inputs = width
    for stage, count in enumerate(blocks, start=1):
        inner = width * 2 ** (stage - 1)
        outputs = inner * (4 if bottleneck else 1)
        for block in range(count):
            name = f"layer{stage}.{block}"
            plan = [(inputs, inner, 3), (inner, inner, 3)]
            if bottleneck:
                plan = [(inputs, inner, 1), (inner, inner, 3), (inner, outputs, 1)]
            for i, (before, after, k) in enumerate(plan, start=1):
                shapes[f"{name}.conv{i}.weight"] = (after, before, k, k)
                shapes |= norm(f"{name}.bn{i}", after)
            if block == 0 and (stage > 1 or inputs != outputs):
                shapes[f"{name}.{shortcut}.0.weight"] = (outputs, inputs, 1, 1)
                shapes |= norm(f"{name}.{shortcut}.1", outputs)
            inputs = outputs
    return shapes | {f"{head}.weight": (7, inputs), f"{head}.bias": (7,)}


def wide_shapes(depth):
    shapes, inputs = {"conv1.weight": (16, 3, 3, 3)}, 16
    for stage, outputs in enumerate((32, 64, 128), start=1):
        for block in range((depth - 4) // 6):
            name = f"block{stage}.layer.{block}"
            shapes |= norm(f"{name}.bn1", inputs) | norm(f"{name}.bn2", outputs)
            shapes[f"{name}.conv1.weight"] = (outputs, inputs, 3, 3)
            shapes[f"{name}.conv2.weight"] = (outputs, outputs, 3, 3)
            if block == 0:
                shapes[f"{name}.convShortcut.weight"] = (outputs, inputs, 1, 1)
            inputs = outputs
    unused = {
        f"sub_{name}": shape
        for name, shape in shapes.items()
        if name.startswith("block1.")
    }
    head = {"fc.weight": (7, 128), "fc.bias": (7,)}
    return shapes | unused | norm("bn1", 128) | head


def plain_shapes(net):
    scales = (1, 3, 6, 4, 4)
    places, dense, cells = (0, 3, 6, 8, 10), (1, 4, 6), 36
    if net == "vgg16":
        scales = (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)
        places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
        dense, cells = (0, 3, 6), 49
    kernels = {"alexnet": (11, 5, 3, 3, 3)}.get(net, (3,) * len(scales))
    shapes, inputs = {}, 3
    for scale, place, k in zip(scales, places, kernels, strict=True):
        shapes[f"features.{place}.weight"] = (2 * scale, inputs, k, k)
        shapes[f"features.{place}.bias"] = (2 * scale,)
        inputs = 2 * scale
    inputs *= 4 if net == "cifar_alexnet" else cells
    for place, outputs in zip(dense, (5, 5, 7), strict=True):
        shapes[f"classifier.{place}.weight"] = (outputs, inputs)
        shapes[f"classifier.{place}.bias"] = (outputs,)
        inputs = outputs
    return shapes


SHAPES = {
    **{net: plain_shapes(net) for net in ("alexnet", "cifar_alexnet", "vgg16")},
    "wrn_28_10": wide_shapes(28),
    "wrn_34_10": wide_shapes(34),
}
for _depth, _blocks, _bottleneck in (
    (18, (2, 2, 2, 2), False),
    (34, (3, 4, 6, 3), False),
    (50, (3, 4, 6, 3), True),
):
    SHAPES[f"resnet{_depth}"] = resnet_shapes(
        _blocks, _bottleneck, "shortcut", "linear", 3
    )
    SHAPES[f"resnet{_depth}_imagenet"] = resnet_shapes(
        _blocks, _bottleneck, "downsample", "fc", 7
    )


def state_of(arch):
    """Random tensors; every value differs from every other."""
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(s, np.float32) for n, s in SHAPES[arch].items()}


def same_values(first, second):
    """In whatever order."""
    np.testing.assert_array_equal(np.sort(first, None), np.sort(second, None))


def test_every_layout_is_tested():
    assert set(SHAPES) == set(weights.NAMES) <= set(MODELS)


@pytest.mark.parametrize("arch", weights.NAMES)
def test_conversion_fills_every_variable_from_its_own_tensor(arch):
    tensors = state_of(arch)
    module, variables = weights.convert(tensors, arch)
    assert type(module) is MODELS[arch] and module.num_classes == 7
    side = 64 if arch == "alexnet" else 32
    expected = jax.eval_shape(
        module.init, jax.random.key(0), np.zeros((1, side, side, 3), np.float32)
    )
    assert jax.tree.map(lambda x: (x.shape, x.dtype), dict(expected)) == jax.tree.map(
        lambda x: (x.shape, x.dtype), variables
    )
    # The values of each variable are those of exactly one tensor.
    owner = {
        value.tobytes() if value.ndim == 0 else float(value.ravel()[0]): name
        for name, value in tensors.items()
        if "num_batches" not in name and not name.startswith("sub_")
    }
    used = []
    for path, value in traverse_util.flatten_dict(variables).items():
        name = owner[float(value.ravel()[0])]
        used.append(name)
        np.testing.assert_array_equal(
            np.sort(value, None), np.sort(tensors[name], None)
        )
        kinds = {"kernel": "weight", "scale": "weight", "bias": "bias",
                 "mean": "running_mean", "var": "running_var"}  # fmt: skip
        assert name.rpartition(".")[2] == kinds[path[-1]]
        if path[-1] == "kernel" and value.ndim == 4:
            np.testing.assert_array_equal(value, tensors[name].transpose(2, 3, 1, 0))
        elif path[-1] == "kernel" and path[-2] != "dense1":
            np.testing.assert_array_equal(value, tensors[name].T)
    assert sorted(used) == sorted(owner.values())


@pytest.mark.parametrize(
    ("arch", "name", "path"),
    [
        ("resnet18", "linear.bias", "params/head/bias"),
        ("resnet50", "layer3.5.bn3.running_var",
         "batch_stats/stage3_block6/norm3/var"),
        ("resnet50", "layer1.0.shortcut.1.weight",
         "params/stage1_block1/shortcut_norm/scale"),
        ("resnet34_imagenet", "layer2.0.downsample.0.weight",
         "params/stage2_block1/shortcut/kernel"),
        ("resnet34_imagenet", "bn1.running_mean", "batch_stats/stem_norm/mean"),
        ("wrn_34_10", "block2.layer.4.bn2.bias", "params/stage2_block5/norm2/bias"),
        ("wrn_34_10", "block1.layer.0.convShortcut.weight",
         "params/stage1_block1/shortcut/kernel"),
        ("wrn_28_10", "bn1.weight", "params/final_norm/scale"),
        ("vgg16", "features.19.bias", "params/conv4_2/bias"),
        ("vgg16", "classifier.3.bias", "params/dense2/bias"),
        ("alexnet", "features.8.bias", "params/conv4/bias"),
        ("cifar_alexnet", "classifier.1.bias", "params/dense1/bias"),
    ],
)  # fmt: skip
def test_names_by_hand(arch, name, path):
    tensors = state_of(arch)
    _, variables = weights.convert(tensors, arch)
    value = traverse_util.flatten_dict(variables, sep="/")[path]
    same_values(value, tensors[name])


def test_widths_are_taken_from_the_shapes():
    module, _ = weights.convert(state_of("resnet18"), "resnet18")
    assert module.width == 2
    module, _ = weights.convert(state_of("wrn_28_10"), "wrn_28_10")
    assert module.widen_factor == 2
    module, _ = weights.convert(state_of("vgg16"), "vgg16")
    assert (module.width, module.hidden) == (2, 5)


def without(tensors, *names):
    return {k: v for k, v in tensors.items() if k not in names}


def test_misfits_name_tensor_and_shapes():
    tensors = state_of("resnet18")
    extra = {**tensors, "extra.weight": np.zeros((2, 3), np.float32)}
    fails(weights.convert, extra, "resnet18", match=r"not used: extra.weight \(2, 3\)$")
    gone = without(tensors, "layer1.1.bn2.bias")
    fails(
        weights.convert, gone, "resnet18", match=r"missing: layer1.1.bn2.bias \(2,\)$"
    )
    bent = {**tensors, "layer1.0.conv1.weight": np.zeros((2, 2, 5, 5), np.float32)}
    message = fails(weights.convert, bent, "resnet18")
    assert (
        "layer1.0.conv1.weight has shape (2, 2, 5, 5); expected (2, 2, 3, 3)" in message
    )
    message = fails(weights.convert, tensors, "resnet34")
    assert "missing: layer1.2.bn1.bias (2,), layer1.2.bn1.running_mean" in message
    assert "more" in message
    fails(weights.convert, tensors, "resnet50_imagenet", match="fc.weight is missing")
    fails(weights.convert, tensors, "resnet19", match="arch: unknown name 'resnet19'")
    fails(weights.convert, tensors, "resnet18", True, match="resnet18 has none")
    headless = {k: v for k, v in state_of("vgg16").items() if "classifier" not in k}
    fails(weights.convert, headless, "vgg16", match="set trunk=True")
    module, _ = weights.convert(headless, "vgg16", trunk=True)
    assert module.trunk
    odd = state_of("cifar_alexnet")
    odd["classifier.1.weight"] = np.zeros((5, 24), np.float32)
    fails(weights.convert, odd, "cifar_alexnet", match="classifier.1.weight has shape")


# Whole files


def test_normalization():
    for arch in weights.NAMES:
        mean, std = weights.normalization(arch)
        assert len(mean) == len(std) and min(std) > 0
    assert weights.normalization("cifar_alexnet")[0] == (0.485, 0.456, 0.406)
    assert weights.normalization("resnet50")[1] == (0.2023, 0.1994, 0.2010)
    assert weights.normalization("wrn_34_10") == ((0.0,), (1.0,))


def test_the_file_s_own_normalization_is_preferred(tmp_path):
    statistics = {
        "normalizer.new_mean": np.array([0.25, 0.5, 0.75], np.float32)[:, None, None],
        "normalizer.new_std": np.array([0.5, 0.125, 1.0], np.float32)[:, None, None],
    }
    tensors = {f"model.{k}": v for k, v in state_of("resnet18").items()}
    attacker = {f"attacker.{k}": v for k, v in tensors.items()}
    path = tmp_path / "x.pt"
    names = {f"module.{k}": v for k, v in (tensors | statistics | attacker).items()}
    write_state(path, names)
    loaded = weights.load(path, "resnet18")
    assert (loaded.mean, loaded.std) == ((0.25, 0.5, 0.75), (0.5, 0.125, 1.0))
    path = write_state(tmp_path / "y.pt", state_of("resnet18"))
    _, _, *found = weights.load(path, "resnet18")
    assert tuple(found) == weights.normalization("resnet18")
    fails(weights.load, path, match="give arch")
    assert str(path) in fails(weights.load, path, "resnet34", match="missing")


def same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("arch", ["resnet18", "wrn_28_10", "alexnet"])
def test_our_own_files_say_what_they_are(tmp_path, arch):
    source = write_state(tmp_path / "x.pth", state_of(arch))
    weights.save(tmp_path / "x.safetensors", weights.load(source, arch))
    first, second = (
        weights.load(source, arch),
        weights.load(tmp_path / "x.safetensors"),
    )
    assert first.module == second.module
    assert (first.mean, first.std) == (second.mean, second.std)
    same(first.variables, second.variables)
    assert weights.load(tmp_path / "x.safetensors", arch).module == first.module
    fails(weights.load, tmp_path / "x.safetensors", "vgg16", match=f"holds {arch}, not")
    if arch == "alexnet":
        trunk = weights.load(tmp_path / "x.safetensors", trunk=True)
        other = weights.load(source, arch, trunk=True)
        assert trunk.module.trunk
        same(trunk.variables, other.variables)
        weights.save(tmp_path / "t.safetensors", trunk)
        for flag in (False, True):
            again = weights.load(tmp_path / "t.safetensors", trunk=flag)
            same(again.variables, other.variables)
    else:
        fails(
            weights.load, tmp_path / "x.safetensors", None, True, match="trunk is for"
        )


def test_our_own_file_with_damaged_metadata(tmp_path):
    path = tmp_path / "x.safetensors"
    about = {"arch": "vgg16", "fields": "{", "mean": "[0]", "std": "[1]"}
    for change, match in [
        ({}, "its metadata cannot be read"),
        ({"fields": '{"depth": 3}'}, "x.safetensors: unknown field 'depth'"),
        ({"fields": "{}", "arch": "vgg61"}, "x.safetensors: unknown name 'vgg61'"),
    ]:
        tensors = {"params/x": np.zeros(1)}
        safetensors.numpy.save_file(tensors, path, about | change)
        fails(weights.load, path, match=match)


def test_our_own_file_that_has_changed(tmp_path):
    path = tmp_path / "x.safetensors"
    source = write_state(tmp_path / "x.pth", state_of("resnet18"))
    weights.save(path, weights.load(source, "resnet18"))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in (start, (start + len(whole)) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        for read in (weights.load, weights.read):
            fails(read, path, match="x.safetensors is damaged: its checksum is wrong")
    edited = whole[:start].replace(rb'"std":"[', rb'"std":"[1', 1)
    assert len(edited) == start + 1 and edited.count(b" ") > 0
    path.write_bytes(edited.replace(b" ", b"", 1) + whole[start:])
    fails(weights.load, path, match="its checksum is wrong")


def test_saving_elsewhere_is_refused(tmp_path):
    path = write_state(tmp_path / "x.pth", state_of("cifar_alexnet"))
    loaded = weights.load(path, "cifar_alexnet")
    fails(weights.save, tmp_path / "x.pth", loaded, match="must end in .safetensors")
    absent = tmp_path / "absent" / "x.safetensors"
    fails(weights.save, absent, loaded, match="cannot be written")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_numbers_that_are_not_finite_are_named(tmp_path, bad):
    tensors = state_of("resnet18")
    name = "layer2.0.bn1.running_var"
    tensors[name] = tensors[name].astype(np.float64)
    tensors[name][1] = bad
    foreign = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file(tensors, foreign)
    message = fails(weights.load, foreign, "resnet18")
    assert f"1 of the {tensors[name].size} numbers of {name} are NaN or inf" in message
    tensors[name][1] = 1.0
    safetensors.numpy.save_file(tensors, foreign)
    found = weights.load(foreign, "resnet18")
    own = tmp_path / "own.safetensors"
    kernel = np.array(found.variables["params"]["stem"]["kernel"])
    bad = bad if np.isnan(bad) else np.sign(bad) * np.inf  # in float32
    kernel.flat[0] = bad
    broken = {**found.variables["params"], "stem": {"kernel": kernel}}
    changed = found._replace(variables={**found.variables, "params": broken})
    weights.save(own, changed)
    assert "of params/stem/kernel are NaN" in fails(weights.load, own)
    weights.save(own, found._replace(std=(bad,) * 3))
    assert "the normalization: 3 of the 3 numbers of std" in fails(weights.load, own)


def test_learned_weights_of_a_distance_are_finite(tmp_path):
    path = tmp_path / "lin.safetensors"
    tensors = {"lin0.model.1.weight": np.float32([[[[1.0]], [[np.nan]]]])}
    safetensors.numpy.save_file(tensors, path)
    message = fails(weights.lpips_linear, "alexnet", path)
    assert "1 of the 2 numbers of lin0.model.1.weight are NaN" in message


def test_find(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXADV_WEIGHTS_DIR", str(tmp_path))
    message = fails(weights.find, "alexnet")
    assert "alexnet-owt-7be5be79.pth" in message
    assert str(tmp_path / "alexnet.pth") in message and "'path'" in message
    for name in ("alexnet.pt", "alexnet.pth", "alexnet.safetensors"):
        (tmp_path / name).touch()
        assert weights.find("alexnet") == tmp_path / name
    assert weights.find("vgg16", tmp_path / "alexnet.pt") == tmp_path / "alexnet.pt"
    fails(
        weights.find, "vgg16", tmp_path / "no.pt", match="no.pt, the weights of vgg16"
    )
    fails(weights.find, "vgg61", match="did you mean 'vgg16'")
    monkeypatch.delenv("JAXADV_WEIGHTS_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "jaxadv_weights").mkdir()
    (tmp_path / "jaxadv_weights" / "vgg16.pth").touch()
    assert weights.find("vgg16") == tmp_path / "jaxadv_weights" / "vgg16.pth"


def lpips_tensors():
    rng = np.random.default_rng(0)
    return {
        f"lin{i}.model.1.weight": rng.uniform(size=(1, c, 1, 1))
        for i, c in enumerate((2, 3, 4))
    }


def test_lpips_weights(tmp_path, monkeypatch):
    tensors = lpips_tensors()
    path = write_state(tmp_path / "alex.pth", tensors)
    found = weights.lpips_linear("alexnet", path)
    for value, expected in zip(found, tensors.values(), strict=True):
        np.testing.assert_array_equal(value, np.float32(expected.ravel()), strict=True)
    package = tmp_path / "site" / "lpips"
    (package / "weights" / "v0.1").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    write_state(package / "weights" / "v0.1" / "vgg.pth", tensors)
    monkeypatch.syspath_prepend(package.parent)
    assert [len(v) for v in weights.lpips_linear("vgg16")] == [2, 3, 4]
    fails(weights.lpips_linear, "squeeze", match="squeeze.pth is no file")
    fails(weights.lpips_linear, "resnet", match="allowed: alexnet, vgg16, squeeze")
    other = write_state(tmp_path / "o.pth", {"fc.weight": np.zeros((2, 2))})
    fails(weights.lpips_linear, "alexnet", other, match="does not hold LPIPS weights")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fails(weights.lpips_linear, "vgg16", match="pip install lpips --no-deps")


# The command line


def test_command_converts_and_shows(tmp_path, capsys):
    source = write_state(tmp_path / "x.pth", state_of("cifar_alexnet"))
    target = tmp_path / "x.safetensors"
    convert = ["convert", str(source), str(target), "--arch", "cifar_alexnet"]
    assert command.main([*convert, "--trunk"]) == 0
    assert weights.load(target).module.trunk
    assert command.main(["show", str(target)]) == 0
    shown = capsys.readouterr().out
    assert "params/conv1/kernel  3x3x3x2  float32" in shown
    assert "10 tensors" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "absent.pth"], "absent.pth is no file"),
        (["convert", "{x}", "{x}.safetensors"], "give arch (--arch)"),
        (["convert", "{x}", "{x}.safetensors", "--arch", "alexnot"], "did you mean"),
        (["convert", "{x}", "{x}.pth", "--arch", "resnet18"], "must end in"),
        (["convert", "{x}", "out", "--trunc"], "unrecognized arguments: --trunc"),
        (["shew", "{x}"], "invalid choice"),
        ([], "required: COMMAND"),
    ],
)
def test_command_tells_mistakes_in_one_line(tmp_path, capsys, arguments, message):
    path = str(write_state(tmp_path / "x.pth", state_of("resnet18")))
    try:
        status = command.main([a.replace("{x}", path) for a in arguments])
    except SystemExit as leave:
        status = leave.code
    error = capsys.readouterr().err
    assert status == 2 and error.count("\n") == 1 and error.startswith("error: ")
    assert message in error
    assert list(tmp_path.iterdir()) == [tmp_path / "x.pth"]


def test_command_help(capsys):
    with pytest.raises(SystemExit) as leave:
        command.main(["--help"])
    assert leave.value.code == 0
    shown = capsys.readouterr().out
    assert "convert" in shown and "JAXADV_WEIGHTS_DIR" in shown and "--trunk" in shown
