"""LPIPS against the official package's values, and against its formula in NumPy.

`golden/make_lpips.py` wrote the values; backbones and images are drawn anew here.
"""

import functools
import importlib.util
import json

import jax
import numpy as np
import pytest

from jaxadv import weights
from jaxadv.classifier import Classifier
from jaxadv.perceptual import Lpips
from tests.golden import streams
from tests.paths import GOLDEN

STORED = json.loads((GOLDEN / "lpips.json").read_text())
# The learned weights are the package's own files; without them two kinds remain.
LEARNED = ["learned"] if importlib.util.find_spec("lpips") else []
NETS = ("alexnet", "vgg16")


@jax.jit
def _distances(squared, *images):
    root = squared.replace(squared=False)
    return jax.vmap(squared)(*images), jax.vmap(root)(*images)


@functools.cache
def network(net):
    module, variables = weights.convert(streams.backbone(net), net, trunk=True)
    return Classifier.from_linen(module, variables, *weights.NORMALIZATIONS["imagenet"])


def linear_of(net, kind):
    kinds = {"unweighted": lambda _: None, "weighted": streams.linear}
    return kinds.get(kind, weights.lpips_linear)(net)


@functools.cache
def distances(net, kind):
    """The squared distances and the distances of the four pairs."""
    distance = Lpips(network=network(net), linear=linear_of(net, kind), squared=True)
    return tuple(map(np.asarray, _distances(distance, *streams.images())))


@pytest.mark.parametrize("kind", ["unweighted", "weighted", *LEARNED])
@pytest.mark.parametrize("net", NETS)
def test_squared_distance_equals_the_official_package(net, kind):
    found, _ = distances(net, kind)
    assert found[0] == 0
    np.testing.assert_allclose(found[1:], STORED[net][kind][1:], rtol=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_the_paper_s_distance_squared_is_the_unweighted_package(net):
    _, found = distances(net, "unweighted")
    assert found[0] == 0
    np.testing.assert_allclose(found[1:] ** 2, STORED[net]["unweighted"][1:], rtol=1e-5)


@pytest.mark.parametrize("kind", ["unweighted", "weighted"])
def test_distances_equal_the_formula_on_the_taps(kind):
    net, pairs = "alexnet", streams.images()
    features = jax.jit(
        jax.vmap(lambda model, image: model.features(image), in_axes=(None, 0))
    )
    with jax.default_matmul_precision("highest"):
        taps = zip(*(features(network(net), side) for side in pairs), strict=True)
    scales = linear_of(net, kind) or [1.0] * 5
    expected = np.zeros(len(streams.PAIRS))
    for (first, second), scale in zip(taps, scales, strict=True):
        unit = [
            a / (np.sqrt(np.sum(a**2, -1, keepdims=True)) + 1e-10)
            for a in (np.asarray(first, np.float64), np.asarray(second, np.float64))
        ]
        squares = np.sum(scale * (unit[0] - unit[1]) ** 2, -1)
        expected += squares.mean((1, 2))
    np.testing.assert_allclose(distances(net, kind)[0], expected, rtol=1e-5)
