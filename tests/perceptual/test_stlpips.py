"""The shift-tolerant distances against their package, in the wheel's own weights.

What needs the wheel is skipped without it; `tests/models/test_shift_tolerant.py` has
the networks against slow loops everywhere. `golden/make_stlpips.py` wrote the values.
"""

import functools
import importlib.util
import json

import jax
import numpy as np
import pytest

from jaxadv.models import blur, shift_tolerant
from jaxadv.perceptual import Lpips, networks
from jaxadv.weights import packages
from tests.golden import streams
from tests.paths import GOLDEN

NETS = tuple(packages.NETWORKS)
STORED = json.loads((GOLDEN / "stlpips.json").read_text())
pytestmark = pytest.mark.skipif(
    packages.NETWORKS[NETS[0]].path is None, reason="needs stlpips_pytorch"
)


@functools.cache
def distance(net):
    return Lpips(networks.pretrained(net), linear=net, squared=True)


def _mapped(metric, *images):
    return jax.lax.map(lambda pair: metric(*pair), images, batch_size=10)


_compiled = jax.jit(_mapped)


def measured(net, pairs):
    return np.asarray(_compiled(distance(net), *pairs))


@pytest.mark.parametrize("net", NETS)
def test_distances_and_taps_are_those_that_torch_gave(net):
    golden, pairs = STORED[net], streams.shifted(len(STORED[net]["distances"]))
    np.testing.assert_allclose(measured(net, pairs), golden["distances"], atol=1e-5)
    features = jax.jit(lambda model, image: model.features(image))
    with jax.default_matmul_precision("highest"):
        taps = features(distance(net).network, pairs[0][0])
    np.testing.assert_allclose(streams.sums(taps), golden["taps"], rtol=1e-4)


@pytest.mark.parametrize("net", NETS)
def test_two_hundred_distances_equal_the_package(net):
    for package in ("torch", "torchvision"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    from tests.golden import make_stlpips

    pairs = streams.shifted(200)
    expected = make_stlpips.distances(make_stlpips.official(net), pairs)
    assert expected.min() > 1e-4 and expected.max() > 0.05
    np.testing.assert_allclose(measured(net, pairs), expected, rtol=1e-4, atol=1e-5)


def subsampled(x, strides=2):
    """What is left of `blur_pool` without its blur: the same pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blur, "_TAPS", (0.0, 1.0, 0.0))
        return blur.blur_pool(x, strides)


@pytest.mark.parametrize("net", NETS)
def test_a_shift_is_nearer_than_without_the_blurs(net, monkeypatch):
    """LPIPS itself is not here, as no package carries the weights of its network."""
    pairs = [images[::4] for images in streams.shifted(32)]  # by one pixel
    blurred = measured(net, pairs)
    monkeypatch.setattr(shift_tolerant, "blur_pool", subsampled)
    # A function of its own, so that it is traced anew.
    plain = jax.jit(lambda *given: _mapped(*given))(distance(net), *pairs)
    assert np.mean(blurred) < 0.8 * np.mean(plain)
    assert np.mean(blurred < plain) >= 0.75
