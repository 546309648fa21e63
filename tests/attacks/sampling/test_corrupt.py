"""Corruptions against NumPy and SciPy, and what their accuracy means."""

import jax
import numpy as np
import pytest
import scipy.ndimage

from jaxadv import specs
from jaxadv.attacks import ATTACKS, Corrupt
from jaxadv.attacks.sampling.corrupt import GaussianBlur, GaussianNoise
from jaxadv.craft import craft
from jaxadv.threats import Linf, LpipsBall
from tests import nets

IMAGES, _ = nets.batch(200)
KEY = jax.random.key(4)


def test_the_blur_is_the_published_kernel():
    """5 x 5 with deviation 1.5 and zeros beyond the border."""
    line = np.array([0.1201, 0.2339, 0.2921, 0.2339, 0.1201])
    image = np.float64(IMAGES[0])
    want = scipy.ndimage.convolve(
        image, np.outer(line, line)[..., None], mode="constant"
    )
    assert np.allclose(GaussianBlur()(KEY, IMAGES[0]), want, atol=2e-4)


def test_the_noise_has_its_deviation():
    gray = np.full((200, 200, 1), 0.5, np.float32)
    noise = np.asarray(GaussianNoise(0.05)(KEY, gray)) - gray
    assert np.isclose(noise.std(), 0.05, rtol=0.02) and abs(noise.mean()) < 1e-3
    loud = np.asarray(GaussianNoise()(KEY, gray))
    assert loud.min() == 0 and loud.max() == 1


def test_one_step_is_the_accuracy_on_corrupted_images():
    model = nets.linear()
    labels = nets.predicted(model, IMAGES)
    corruption = GaussianBlur()
    got = jax.jit(craft)(Corrupt(corruption=corruption), model, KEY, IMAGES, labels)
    blurred = jax.vmap(lambda x: corruption(KEY, x))(IMAGES)
    assert np.array_equal(got.success, nets.predicted(model, blurred) != labels)
    assert 0 < np.mean(got.success) < 1
    # More draws of what is not random break no more; a small ball allows less.
    more = Corrupt(steps=3, corruption=corruption)
    assert np.array_equal(jax.jit(craft)(more, model, KEY, IMAGES, labels).success,
                          got.success)  # fmt: skip
    small = jax.jit(craft)(Corrupt(Linf(0.05)), model, KEY, IMAGES, labels)
    assert np.all(small.size <= 0.05 * (1 + 1e-6))


@pytest.mark.parametrize(
    "spec,message",
    [
        ({"corruption": {"name": "fog"}}, "unknown name 'fog'"),
        ({"corruption": {"name": "gaussian_blur", "size": 4}}, "size is 4"),
        ({"threat": LpipsBall(1.0)}, "threat is a LpipsBall"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(specs.UsageError, match=message):
        specs.build({"name": "corrupt", **spec}, ATTACKS, "attack")
