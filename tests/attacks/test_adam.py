"""Adam on a perturbation, against Adam written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks.gradient.adam import Adam
from jaxadv.craft import craft
from jaxadv.objectives import KL, Margin
from jaxadv.specs import UsageError
from jaxadv.threats import THREATS
from jaxadv.threats.flow import StAdv
from jaxadv.threats.lp import Linf
from jaxadv.threats.recolor import ReColor
from tests import nets


def by_hand(threat, model, image, label, steps, rate, penalty):
    """Projected before each gradient, and once more at the end."""

    def loss(params):
        gain = Margin()(model, threat.apply(params, image), label, None)
        return penalty * threat.roughness(params) - gain

    shape = jax.eval_shape(threat.init, jax.random.key(0), image).shape
    params, first, second = (np.zeros(shape) for _ in range(3))
    for i in range(1, steps + 1):
        params = np.asarray(threat.project(jnp.float32(params), image), np.float64)
        grad = np.asarray(jax.grad(loss)(jnp.float32(params)), np.float64)
        first = 0.9 * first + 0.1 * grad
        second = 0.999 * second + 0.001 * grad**2
        step = first / (1 - 0.9**i) / (np.sqrt(second / (1 - 0.999**i)) + 1e-8)
        params = params - rate * step
    return threat.project(jnp.float32(params), image)


@pytest.mark.parametrize(
    ("threat", "rate", "penalty"),
    [
        (StAdv(0.2), 0.03, 0.01),
        (StAdv(0.2), 0.03, 0.0),
        (ReColor(0.1, table=(3, 3, 3)), 0.02, 0.02),
    ],
)
def test_the_search_is_that_of_the_algorithm(threat, rate, penalty):
    model = nets.linear()
    images, labels = nets.batch(3)
    attack = Adam(threat, steps=5, learning_rate=rate, penalty=penalty)
    found = jax.jit(craft)(attack, model, jax.random.key(0), images, labels)
    for i in range(3):
        params = by_hand(threat, model, images[i], labels[i], 5, rate, penalty)
        expected = threat.apply(params, images[i])
        off = np.abs(found.image[i] - expected)
        # Adam turns the rounding of a vanishing gradient into a step; such are few.
        assert np.median(off) < 1e-6 and np.mean(off) < 5e-5
        assert np.mean(np.abs(expected - images[i])) > 1e-2


def test_a_penalty_makes_the_perturbation_smoother():
    model = nets.linear()
    images, labels = nets.batch(4)

    def roughness(penalty):
        attack = Adam(StAdv(0.2), learning_rate=0.02, penalty=penalty)
        begin = jax.vmap(lambda x, y: attack.init(jax.random.key(0), model, x, y))
        step = jax.jit(jax.vmap(lambda s, x, y: attack.step(s, model, x, y)))
        state = begin(images, labels)
        for _ in range(20):
            state = step(state, images, labels)
        return np.asarray(jax.vmap(attack.threat.roughness)(state.params))

    assert np.all(roughness(0.1) < roughness(0.0))


def test_the_best_point_may_be_kept():
    """Far too large steps jump out of what the first ones have broken."""
    model = nets.linear()
    images, labels = nets.batch(16)
    broken = [
        np.mean(
            jax.jit(craft)(
                Adam(Linf(0.1), steps=6, learning_rate=0.03, keep=keep),
                model,
                jax.random.key(0),
                images,
                labels,
            ).success  # fmt: skip
        )
        for keep in ("last", "best")
    ]
    assert broken[1] >= broken[0]


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(UsageError, match="a Linf has no roughness"):
        Adam(Linf(0.1), penalty=0.1)
    with pytest.raises(UsageError, match="no gradient at the clean image"):
        Adam(Linf(0.1), objective=KL())
    rough = [name for name in THREATS if hasattr(THREATS[name], "roughness")]
    assert {"stadv", "recolor"} <= set(rough)
