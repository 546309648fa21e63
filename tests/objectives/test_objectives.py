"""Losses against hand-computed values, and the wrappers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import objectives, protocols
from tests import nets

Z = jnp.array([1.0, 3.0, 0.0, 2.0, -1.0])


def test_values_by_hand():
    probabilities = np.exp(Z) / np.exp(Z).sum()
    assert np.isclose(objectives.cross_entropy(Z, 3), -np.log(probabilities[3]))
    assert objectives.margin(Z, 1) == -1.0
    assert objectives.margin(Z, 0) == 2.0
    # (z_y - max other) / (z_1st - z_3rd) with the sign turned: -(3 - 2) / (3 - 1)
    assert objectives.dlr(Z, 1) == -0.5
    assert objectives.dlr(Z, 2) == 1.5
    # -(z_y - z_t) / (z_1st - (z_3rd + z_4th) / 2) = -(3 - 0) / (3 - 0.5)
    assert np.isclose(objectives.targeted_dlr(Z, 1, 2), -1.2)
    other = jnp.array([0.0, 1.0, 0.5, 2.0, 1.0])
    q = np.exp(other) / np.exp(other).sum()
    want = np.sum(probabilities * np.log(probabilities / q))
    assert np.isclose(objectives.kl_divergence(Z, other), want, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes_have_finite_useful_gradients(classes):
    z = jnp.array([2.0, 1.0, 0.5, 0.1])[:classes]
    for value in (objectives.dlr, lambda z, y: objectives.targeted_dlr(z, y, 1)):
        grad = jax.grad(value)(z, 0)
        assert np.all(np.isfinite(grad))
        assert grad[0] < 0 < grad[1]


def test_dlr_ignores_shift_and_scale():
    assert np.isclose(objectives.dlr(Z, 3), objectives.dlr(7 * Z + 3, 3), atol=1e-6)
    a, b = (objectives.targeted_dlr(z, 3, 0) for z in (Z, 7 * Z + 3))
    assert np.isclose(a, b, atol=1e-6)


@pytest.mark.parametrize("value", [objectives.dlr, objectives.cross_entropy])
def test_equal_logits_stay_finite(value):
    grad = jax.grad(value)(jnp.zeros(5), 2)
    assert np.all(np.isfinite(grad))


def test_a_tie_goes_to_the_attacker():
    assert objectives.margin(jnp.zeros(3), 0) >= 0


def test_kappa_flattens_the_margin():
    model, (images, _) = nets.linear(), nets.batch(1)
    m = float(objectives.margin(model(images[0]), 0))
    for kappa, flat in ((0.0, m > 0), (abs(m) + 1, False)):
        objective = objectives.Margin(kappa=kappa)
        assert objective(model, images[0], 0) == min(m, kappa)
        grad = jax.grad(lambda x, o=objective: o(model, x, 0))(images[0])
        assert bool(jnp.all(grad == 0)) == flat


def test_targeted_objectives_rise_towards_the_target():
    model, (images, _) = nets.linear(), nets.batch(1)
    w = model.variables["w"].reshape(4, 8, 8, 1)
    for name in ("cross_entropy", "margin", "dlr"):
        objective = objectives.OBJECTIVES[f"targeted_{name}"](target=2)
        base = objective(model, images[0], 1)
        moved = images[0] + 0.02 * (w[2] - w[1])
        assert objective(model, moved, 1) > base
        assert objective.goal(jnp.array([0.0, 1.0, 5.0, 0.0]), 1) > 0
        assert objective.goal(jnp.array([9.0, 1.0, 5.0, 0.0]), 1) < 0


def test_kl_is_zero_and_flat_at_the_clean_image():
    model, (images, _) = nets.conv(), nets.batch(1)
    objective = protocols.bind(objectives.KL(), model, images[0], 0, None)
    value, grad = jax.value_and_grad(lambda x: objective(model, x, 0))(images[0])
    assert np.isclose(value, 0, atol=1e-6)
    assert np.allclose(grad, 0, atol=1e-5)
    assert objective(model, images[0] * 0.5, 0) > 1e-3


def test_expectation_averages_the_gradient_over_keys():
    model, (images, _) = nets.noisy(), nets.batch(1)
    image, label = images[0], nets.predicted(nets.noisy(), images)[0]

    def grad(samples, key):
        objective = objectives.Expectation(objectives.CrossEntropy(), samples)
        return jax.grad(lambda x: objective(model, x, label, key))(image)

    keys = jax.random.split(jax.random.PRNGKey(3), 64)
    few, many = (jax.vmap(lambda k, n=n: grad(n, k))(keys) for n in (1, 16))
    ratio = np.var(few, axis=0).sum() / np.var(many, axis=0).sum()
    assert 10 < ratio < 26


def test_expectation_of_a_deterministic_model_is_the_objective():
    model, (images, _) = nets.linear(), nets.batch(1)
    inner = objectives.Margin()
    value = objectives.Expectation(inner, 3)(model, images[0], 1, jax.random.key(0))
    assert np.isclose(value, inner(model, images[0], 1), rtol=1e-5)
