"""AlexNet and VGG against NumPy in PyTorch's axis order, weights imported."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import specs, weights
from jaxadv.models import MODELS, alexnet
from tests.models.references import abstract, build, count, random_variables

NETS = ("alexnet", "cifar_alexnet", "vgg16")
ALEX_SCALES = (1, 3, 6, 4, 4)
# Place in torchvision's `features`, kernel, stride, padding, (window, stride) of the
# pooling after it.
ALEXNET = ((0, 11, 4, 2, (3, 2)), (3, 5, 1, 2, (3, 2)), (6, 3, 1, 1, None),
           (8, 3, 1, 1, None), (10, 3, 1, 1, (3, 2)))  # fmt: skip
CIFAR = ((0, 3, 2, 1, (2, 2)), (3, 3, 1, 1, (2, 2)), (6, 3, 1, 1, None),
         (8, 3, 1, 1, None), (10, 3, 1, 1, (2, 2)))  # fmt: skip
VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG_POOLED = (2, 7, 14, 21, 28)
VGG = tuple((i, 3, 1, 1, (2, 2) if i in VGG_POOLED else None) for i in VGG_PLACES)
PLANS = {"alexnet": ALEXNET, "cifar_alexnet": CIFAR, "vgg16": VGG}
DENSE = {"alexnet": (1, 4, 6), "cifar_alexnet": (1, 4, 6), "vgg16": (0, 3, 6)}
GRID = {"alexnet": 6, "cifar_alexnet": None, "vgg16": 7}


def widths(net, width):
    if net == "vgg16":
        return [width * s for s in (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)]
    return [width * s for s in ALEX_SCALES]


def foreign(net, width=2, hidden=5, classes=3, cells=1, channels=3):
    """A random state dict in the foreign layout."""
    rng, tensors = np.random.default_rng(0), {}
    for outputs, (place, kernel, *_) in zip(
        widths(net, width), PLANS[net], strict=True
    ):
        shape = (outputs, channels, kernel, kernel)
        scale = (2 / np.prod(shape[1:])) ** 0.5
        tensors[f"features.{place}.weight"] = scale * rng.standard_normal(shape)
        tensors[f"features.{place}.bias"] = 0.1 * rng.standard_normal(outputs)
        channels = outputs
    sizes = (channels * (GRID[net] or cells) ** 2, hidden, hidden, classes)
    for place, (before, after) in zip(
        DENSE[net], itertools.pairwise(sizes), strict=True
    ):
        shape = (after, before)
        weight = (2 / before) ** 0.5 * rng.standard_normal(shape)
        tensors[f"classifier.{place}.weight"] = weight
        tensors[f"classifier.{place}.bias"] = 0.1 * rng.standard_normal(after)
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def windows(x, size, stride):
    """[c, h, w] to [c, h', w', size, size]."""
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
    return view[:, ::stride, ::stride]


def grid_reference(x, side):
    """Means over overlapping windows, one by one."""
    out = np.zeros((len(x), side, side))
    edges = [
        [(i * n // side, -(-(i + 1) * n // side)) for i in range(side)]
        for n in x.shape[1:]
    ]
    for (i, (a, b)), (j, (c, d)) in itertools.product(*map(enumerate, edges)):
        out[:, i, j] = x[:, a:b, c:d].mean((1, 2))
    return out


def reference(net, tensors, image):
    """Logits and taps of one image [c, h, w] in float64."""
    x, taps = image.astype(np.float64), []
    for place, kernel, stride, padding, pool in PLANS[net]:
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        weight = tensors[f"features.{place}.weight"].astype(np.float64)
        x = np.einsum("chwij,ocij->ohw", windows(x, kernel, stride), weight)
        x = np.maximum(x + tensors[f"features.{place}.bias"][:, None, None], 0)
        if net != "vgg16" or pool:
            taps.append(x.transpose(1, 2, 0))
        x = windows(x, *pool).max((-1, -2)) if pool else x
    x = grid_reference(x, GRID[net]).ravel() if GRID[net] else x.ravel()
    for place in DENSE[net]:
        x = tensors[f"classifier.{place}.weight"] @ x
        x = x + tensors[f"classifier.{place}.bias"]
        x = np.maximum(x, 0) if place != 6 else x
    return x, taps


@pytest.mark.parametrize(
    ("net", "shape", "cells"),
    [
        ("alexnet", (63, 70, 3), None),
        ("cifar_alexnet", (32, 32, 3), 2),
        ("cifar_alexnet", (28, 28, 1), 1),
        ("vgg16", (32, 64, 3), None),
    ],
)
def test_imported_weights_compute_what_they_did(net, shape, cells):
    tensors = foreign(net, cells=cells, channels=shape[-1])
    module, variables = weights.convert(tensors, net)
    images = np.random.default_rng(1).standard_normal((2, *shape)).astype(np.float32)
    logits, state = jax.jit(lambda v, x: module.apply(v, x, mutable=["features"]))(
        variables, images
    )
    taps = state["features"]["taps"]
    for i, image in enumerate(images):
        expected, maps = reference(net, tensors, image.transpose(2, 0, 1))
        np.testing.assert_allclose(logits[i], expected, rtol=1e-4, atol=1e-4)
        for tap, expected_map in zip(taps, maps, strict=True):
            np.testing.assert_allclose(tap[i], expected_map, rtol=1e-4, atol=1e-4)
    trunk, weightless = weights.convert(tensors, net, trunk=True)
    assert {name[:4] for name in weightless["params"]} == {"conv"}
    zeros, state = jax.jit(lambda v, x: trunk.apply(v, x, mutable=["features"]))(
        weightless, images
    )
    assert zeros.shape == (2, trunk.num_classes) and not zeros.any()
    for tap, other in zip(taps, state["features"]["taps"], strict=True):
        np.testing.assert_allclose(tap, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("net", "classes", "side", "expected"),
    [
        ("alexnet", 1000, 224, 61_100_840),
        ("vgg16", 1000, 224, 138_357_544),
        ("cifar_alexnet", 10, 32, 23_272_266),
    ],
)
def test_parameter_counts(net, classes, side, expected):
    variables, logits, taps = abstract(
        build(net, num_classes=classes, compute_dtype="bfloat16"), (2, side, side, 3)
    )
    assert count(variables) == expected
    assert logits.shape == (2, classes) and logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("f4")}
    assert {tap.dtype for tap in taps} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("net", "side", "expected"),
    [
        ("alexnet", 224, [(55, 64), (27, 192), (13, 384), (13, 256), (13, 256)]),
        ("cifar_alexnet", 32, [(16, 64), (8, 192), (4, 384), (4, 256), (4, 256)]),
        ("vgg16", 224, [(224, 64), (112, 128), (56, 256), (28, 512), (14, 512)]),
    ],
)
def test_taps_at_full_size(net, side, expected):
    _, _, taps = abstract(build(net, trunk=True), (1, side, side, 3))
    assert [tap.shape for tap in taps] == [(1, n, n, c) for n, c in expected]
    if net == "cifar_alexnet":
        assert sum(tap.size for tap in taps) == 43_008


@pytest.mark.parametrize(("height", "width"), [(3, 8), (7, 7), (13, 1)])
def test_adaptive_mean_equals_brute_force(height, width):
    x = np.random.default_rng(0).standard_normal((2, height, width, 3))
    found = jax.jit(alexnet.adaptive_mean, static_argnums=1)(np.float32(x), 7)
    for image, result in zip(x, found, strict=True):
        expected = grid_reference(image.transpose(2, 0, 1), 7).transpose(1, 2, 0)
        np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("net", ["cifar_alexnet", "vgg16"])
def test_dropout_acts_in_train_mode_alone(net):
    module = build(net, width=1, hidden=32)
    images = np.random.default_rng(0).standard_normal((1, 32, 32, 3), np.float32)
    variables = random_variables(module, images.shape)

    @jax.jit
    def train(variables, images, seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, images, train=True, rngs=rngs)

    first, same, other = (train(variables, images, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first - jax.jit(module.apply)(variables, images)).max() > 1e-3


def initial(net, *names):
    """The named layers' initial values; the rest is not even compiled."""
    module = build(net, width=8, hidden=64)

    @jax.jit
    def init(key, images):
        params = module.init(key, images)["params"]
        return {name: params[name] for name in names}

    return init(jax.random.key(0, impl="rbg"), jnp.zeros((1, 32, 32, 3)))


def test_initial_values_are_pytorch_s_and_vgg_s_own():
    params = initial("cifar_alexnet", "conv3", "dense1", "head")
    for name, fan_in in (("conv3", 9 * 24), ("dense1", 4 * 32), ("head", 64)):
        bound = fan_in**-0.5
        for leaf in params[name].values():
            assert 0.7 * bound < np.abs(leaf).max() <= bound
    params = initial("vgg16", "conv4_2", "dense1")
    std = params["conv4_2"]["kernel"].std()
    assert abs(std / (2 / (9 * 64)) ** 0.5 - 1) < 0.05
    assert abs(params["dense1"]["kernel"].std() / 0.01 - 1) < 0.05
    assert not any(params[name]["bias"].any() for name in params)


@pytest.mark.parametrize(
    ("net", "side"), [("alexnet", 63), ("cifar_alexnet", 15), ("vgg16", 32)]
)
@pytest.mark.parametrize("trunk", [False, True])
def test_smallest_images(net, side, trunk):
    module = build(net, width=1, hidden=1, trunk=trunk)
    side = side // 2 if trunk and net != "alexnet" else 31 if trunk else side
    _, logits, taps = abstract(module, (1, side, side, 3))
    assert logits.shape == (1, 10) and 0 not in taps[-1].shape
    with pytest.raises(specs.UsageError, match=f"needs at least {side}x{side}"):
        abstract(module, (1, side, side - 1, 3))


@pytest.mark.parametrize("net", NETS)
def test_fields_are_checked(net):
    assert net in MODELS
    with pytest.raises(specs.UsageError, match="hidden is 0; it must be >= 1"):
        build(net, hidden=0)
    with pytest.raises(specs.UsageError, match="model.trunk is 'yes'"):
        build(net, trunk="yes")
