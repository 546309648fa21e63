"""Blurred downsampling, and the networks that have it, against slow NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import specs, weights
from jaxadv.models import MODELS, blur
from tests.models.references import (
    abstract,
    build,
    conv_reference,
    count,
    dense_reference,
    pool_reference,
    relu,
)
from tests.models.test_alexnet_vgg import grid_reference
from tests.weights.layouts import state_of

NETS = ("stlpips_alexnet", "stlpips_vgg16")
FILTER = np.outer((1, 2, 1), (1, 2, 1)) / 16
# What happens to an image, one step a word: the place of a convolution's tensors.
ALEXNET = """
slice1.0:2 blur relu tap max3 blur slice2.5:2 relu tap max3 blur
slice3.9:1 relu tap slice4.11:1 relu tap slice5.13:1 relu tap max3 blur
""".split()
VGG = """
slice1.0:1 relu slice1.2:1 relu tap max2 blur slice2.6:1 relu slice2.8:1 relu tap max2
blur slice3.12:1 relu slice3.14:1 relu slice3.16:1 relu tap max2 blur slice4.20:1 relu
slice4.22:1 relu slice4.24:1 relu tap max2 blur slice5.28:1 relu slice5.30:1 relu
slice5.32:1 relu tap max2 blur
""".split()
PLANS = {"stlpips_alexnet": ALEXNET, "stlpips_vgg16": VGG}
# Side of the grid of means, places of the dense layers.
HEADS = {"stlpips_alexnet": (6, (1, 4, 6)), "stlpips_vgg16": (7, (0, 3, 6))}


def mirrored(i, size):
    """The pixel that lies where pixel i would, beyond the border."""
    return -i if i < 0 else 2 * (size - 1) - i if i >= size else i


def blur_reference(x):
    """Weighted sums of 3x3 pixels around every second one, one by one."""
    h, w, c = x.shape
    out = np.zeros(((h + 1) // 2 + 1, (w + 1) // 2 + 1, c))
    for i, j in np.ndindex(out.shape[:2]):
        for a, b in itertools.product(range(3), range(3)):
            row, column = mirrored(2 * i + a - 2, h), mirrored(2 * j + b - 2, w)
            out[i, j] += FILTER[a, b] * x[row, column]
    return out


def network_reference(net, tensors, image, trunk):
    """Logits and taps of one image [h, w, c] in float64; zeros for the trunk alone."""
    x, taps = np.asarray(image, np.float64), []
    for step in PLANS[net]:
        if len(taps) == 5 and trunk:
            return np.zeros(10), taps
        if step == "tap":
            taps.append(x)
        elif step in ("relu", "blur"):
            x = {"relu": relu, "blur": blur_reference}[step](x)
        elif step.startswith("max"):
            x = pool_reference(x, int(step[3:]), 1, 0)
        else:
            place, padding = step.split(":")
            params = params_of(tensors, f"net.{place}", (2, 3, 1, 0))
            x = conv_reference(x, params, before=int(padding))
    side, places = HEADS[net]
    x = grid_reference(x.transpose(2, 0, 1), side).ravel()
    for place in places:
        x = dense_reference(x, params_of(tensors, f"classifier.{place}", (1, 0)))
        x = relu(x) if place != places[-1] else x
    return x, taps


def params_of(tensors, name, axes):
    kernel = tensors[f"{name}.weight"].transpose(axes)
    return {"kernel": kernel, "bias": tensors[f"{name}.bias"]}


@functools.cache
def tensors_of(net):
    """Random ones of a size that keeps activations alive."""
    found = state_of(net)
    for name, value in found.items():
        if name.endswith("weight"):
            found[name] = value * (2 / np.prod(value.shape[1:])) ** 0.5
        elif name.endswith("bias"):
            found[name] = 0.3 * value
    return {name: np.float32(value) for name, value in found.items()}


@pytest.mark.parametrize(
    ("net", "trunk", "shape"),
    [
        ("stlpips_alexnet", False, (1, 37, 40, 3)),
        ("stlpips_alexnet", True, (2, 32, 27, 3)),
        ("stlpips_vgg16", False, (1, 35, 34, 3)),
        ("stlpips_vgg16", True, (2, 18, 31, 3)),
    ],
)
def test_networks_equal_slow_loops(net, trunk, shape):
    tensors = tensors_of(net)
    module, variables = weights.convert(tensors, net, trunk=trunk)
    images = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    logits, state = jax.jit(lambda v, x: module.apply(v, x, mutable=["features"]))(
        variables, images
    )
    taps = state["features"]["taps"]
    for i, image in enumerate(images):
        expected, maps = network_reference(net, tensors, image, trunk)
        np.testing.assert_allclose(logits[i], expected, rtol=1e-4, atol=1e-4)
        for tap, other in zip(taps, maps, strict=True):
            assert np.abs(other).max() > 0.1
            np.testing.assert_allclose(tap[i], other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 3, 2), (2, 4, 7, 1), (1, 8, 5, 3)])
def test_blur_equals_slow_loops(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = jax.jit(blur.blur_pool)(x)
    for image, other in zip(found, x, strict=True):
        np.testing.assert_allclose(image, blur_reference(other), atol=1e-6)


def test_blur_keeps_constants_and_dtypes():
    x = jnp.full((1, 9, 6, 2), 0.7, jnp.bfloat16)
    found = blur.blur_pool(x)
    assert found.dtype == jnp.bfloat16 and found.shape == (1, 6, 4, 2)
    np.testing.assert_allclose(np.float32(found), np.float32(x[0, 0, 0, 0]), rtol=0.01)


def test_blur_needs_pixels_to_reflect():
    with pytest.raises(specs.UsageError, match="maps of 2x5 pixels; .* 3x3"):
        blur.blur_pool(jnp.zeros((1, 2, 5, 1)))


def test_blur_has_the_gradient_of_a_linear_map():
    """<blur(x), y> = <x, blur^T y>, with the transposed map from slow loops."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1, 5, 4, 1)), rng.standard_normal((1, 4, 3, 1))
    with jax.enable_x64(True):
        _, pull = jax.vjp(blur.blur_pool, jnp.asarray(x))
        found = np.asarray(pull(jnp.asarray(y))[0]).ravel()
    units = np.eye(20).reshape(20, 5, 4, 1)
    expected = [np.sum(blur_reference(unit) * y[0]) for unit in units]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("net", "full", "trunk"),
    [
        ("stlpips_alexnet", 61_100_840, 2_469_696),
        ("stlpips_vgg16", 138_357_544, 14_714_688),
    ],
)
def test_parameter_counts(net, full, trunk):
    for fields, expected in (({}, full), ({"trunk": True}, trunk)):
        module = build(net, num_classes=1000, compute_dtype="bfloat16", **fields)
        variables, logits, taps = abstract(module, (2, 64, 64, 3))
        assert count(variables) == expected
        assert logits.shape == (2, 1000) and logits.dtype == jnp.float32
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("f4")}
        assert {tap.dtype for tap in taps} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        ("stlpips_alexnet", [(110, 64), (55, 192), (28, 384), (28, 256), (28, 256)]),
        ("stlpips_vgg16", [(224, 64), (113, 128), (57, 256), (29, 512), (15, 512)]),
    ],
)
def test_taps_at_full_size(net, expected):
    _, _, taps = abstract(build(net, trunk=True), (1, 224, 224, 3))
    assert [tap.shape for tap in taps] == [(1, n, n, c) for n, c in expected]


@pytest.mark.parametrize(
    ("net", "trunk", "side"),
    [
        ("stlpips_alexnet", False, 37),
        ("stlpips_alexnet", True, 21),
        ("stlpips_vgg16", False, 34),
        ("stlpips_vgg16", True, 18),
    ],
)
def test_smallest_images(net, trunk, side):
    module = build(net, width=1, hidden=1, trunk=trunk)
    _, logits, taps = abstract(module, (1, side, side, 3))
    assert logits.shape == (1, 10) and 0 not in taps[-1].shape
    with pytest.raises(specs.UsageError, match=f"needs at least {side}x{side}"):
        abstract(module, (1, side, side - 1, 3))
    # Smaller ones would have nothing to reflect, or reflect what is no neighbor.
    short = module.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxadv.models.alexnet.check_side", lambda *_: None)
        with pytest.raises(specs.UsageError, match="blur_pool got maps of"):
            abstract(short, (1, side - 1, side - 1, 3))


@pytest.mark.parametrize("net", NETS)
def test_networks_are_registered_and_checked(net):
    assert net in MODELS and net in weights.TRUNKS
    with pytest.raises(specs.UsageError, match="width is 0; it must be >= 1"):
        build(net, width=0)
