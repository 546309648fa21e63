"""Manifold regularization against the closed form of a linear network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.defenses import DEFENSES
from jaxadv.defenses.manifold import Manifold
from jaxadv.specs import UsageError
from tests.defenses.test_defenses import SHAPE, entropies, evaluate, setup

EPS = 0.1


def many(batch, copies):
    """The batch so often, each image with an id of its own."""
    many = {k: np.concatenate([v] * copies) for k, v in batch.items()}
    return many | {"id": np.arange(len(many["label"]), dtype=np.int32)}


def test_the_distance_of_a_linear_network_is_four_eps_squared_times_its_weights():
    """E |f(x + eps s) - f(x - eps s)|^2 = 4 eps^2 |W|_F^2 over random signs s."""
    params, state, batch = setup()
    batch = many(batch, 500)
    loss, out = evaluate(Manifold(eps=EPS, gamma=0.7), params, state, batch)
    weights = np.asarray(params["Dense_0"]["kernel"], np.float64) / 0.25
    want = 4 * EPS**2 * np.sum(weights**2)
    got = float(out.metrics["distance"])
    assert got == pytest.approx(want, rel=0.05)
    clean = jnp.mean(entropies(params, batch["image"], batch["label"]))
    assert float(loss) == pytest.approx(float(clean) + 0.7 * got, rel=1e-5)


def test_corners_are_drawn_anew_and_stay_in_the_box():
    params, state, batch = setup()
    values = []
    for key in range(2):
        one = {**batch, "image": np.full((8, *SHAPE), 0.5, np.float32)}
        _, out = evaluate(Manifold(eps=EPS), params, state, one, key=key)
        values.append(float(out.metrics["distance"]))
    assert values[0] != values[1]
    # Of a white image one corner of each channel is the image itself.
    white = {**batch, "image": np.ones((8, *SHAPE), np.float32)}
    _, out = evaluate(Manifold(eps=EPS), params, state, many(white, 500))
    weights = np.asarray(params["Dense_0"]["kernel"], np.float64) / 0.25
    want = EPS**2 * np.sum(weights**2)
    assert float(out.metrics["distance"]) == pytest.approx(want, rel=0.06)


def test_without_weight_it_is_clean_training_and_gradients_flow_through_both_corners():
    params, state, batch = setup()
    clean = jnp.mean(entropies(params, batch["image"], batch["label"]))
    loss, _ = evaluate(Manifold(eps=EPS, gamma=0.0), params, state, batch)
    assert float(loss) == pytest.approx(float(clean), rel=1e-5)

    def distance(params):
        key = jax.random.key(0)
        _, out = Manifold(eps=EPS).loss(params, state, many(batch, 500), key)
        return out.metrics["distance"]

    slope = jax.grad(distance)(params)["Dense_0"]["kernel"]
    want = 8 * EPS**2 * np.asarray(params["Dense_0"]["kernel"]) / 0.25**2
    np.testing.assert_allclose(slope, want, atol=0.06 * np.abs(want).max())


def test_it_is_registered_and_checked():
    assert DEFENSES["manifold"] is Manifold
    with pytest.raises(UsageError, match="gamma is -1; it must be >= 0"):
        Manifold(gamma=-1.0)
