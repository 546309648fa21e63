"""What distances are given: one size, [h, w, c], [0, 1]; and numbers that are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxadv.classifier import Classifier
from jaxadv.perceptual import L2Distance, LinfDistance, Lpips, Ssim
from jaxadv.perceptual.lpips import embed
from jaxadv.specs import UsageError
from jaxadv.threats import LpipsBall
from tests import nets

SHAPE = (8, 8, 3)
MODEL = nets.conv(SHAPE)
A, B = nets.batch(2, SHAPE)[0]
DISTANCES = {
    "l2": L2Distance(),
    "linf": LinfDistance(),
    "lpips": Lpips(MODEL),
    "ssim": Ssim(window=3),
}
BAD = {
    "a batch": (lambda x: x[None], r"shape \(1, 8, 8, 3\); .* take jax.vmap"),
    "uint8": (lambda x: np.uint8(255 * x), r"uint8; .*astype\(np.float32\) / 255"),
    "[-1, 1]": (lambda x: 2 * x - 1, r"outside \[0, 1\].* by \(x \+ 1\) / 2"),
    "NaN": (lambda x: x + np.float32(np.nan), "not finite"),
}


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("case", BAD)
def test_refused(name, case):
    change, words = BAD[case]
    with pytest.raises(UsageError, match=words) as error:
        DISTANCES[name](change(A), change(B))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", DISTANCES)
def test_two_sizes_and_gray_beside_color_are_refused_under_jit_too(name):
    for other in (B[:7], B[..., :1]):
        with pytest.raises(UsageError, match="give two of one shape"):
            jax.eval_shape(DISTANCES[name], A, other)


def test_gray_images_do_not_become_colored():
    """Neither by broadcasting against three means, nor as an error of flax."""
    row = MODEL.replace(mean=jnp.full(3, 0.4), std=jnp.full(3, 0.3))
    for model, words in ((row, "mean, which has 3"), (MODEL, "fit the network's wei")):
        for call in (Lpips(model), lambda a, b, m=model: m(a)):
            with pytest.raises(UsageError, match=words) as error:
                call(A[..., :1], B[..., :1])
            assert "\n" not in str(error.value)


def test_an_activation_that_is_no_number_makes_a_distance_that_is_none():
    taps = np.ones((2, 3, 3, 4), np.float32)
    for bad in (np.nan, np.inf):
        sick = taps.copy()
        sick[1, 2, 0, 1] = bad
        assert np.isnan(embed(sick)).any() and not np.isnan(embed(taps)).any()
    dead = np.zeros((1, 3, 3, 4), np.float32)
    assert not embed(dead).any()

    class Broken(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            self.sow("features", "taps", jnp.where(x > 0.5, jnp.nan, x))
            return jnp.zeros((len(x), 2))

    model = Classifier.from_linen(Broken(), {})
    assert np.isnan(Lpips(model)(A, B))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("projection", ["newton", "bisection"])
def test_a_projection_lets_no_number_through_that_is_none(projection, bad):
    ball = LpipsBall(0.3, network=MODEL, projection=projection, bisection_steps=3)
    change = np.full(SHAPE, 0.2, np.float32)
    change[1, 2, 0] = bad
    found = jax.jit(ball.project)(change, A)
    assert np.isfinite(found).all() and np.any(found != 0)
    assert ball.size(found, A) <= 0.3
