"""Schedules and optimizers are what their closed forms say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.specs import UsageError
from jaxadv.training.optim import Optimizer, Schedule, noise_step


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"kind": "constant"}, lambda t: 2.0),
        (
            {"kind": "steps", "drop_epochs": (2, 5), "drop_factor": 0.1},
            lambda t: 2.0 * 0.1 ** ((t >= 2) + (t >= 5)),
        ),
        ({"kind": "cosine"}, lambda t: 1 + np.cos(np.pi * t / 8)),
        ({"kind": "cyclic", "peak": 0.25}, lambda t: min(t, (8 - t) / 3)),
        (
            {"kind": "constant", "warmup_epochs": 2},
            lambda t: 2.0 * min(1, (t + 0.25) / 2),
        ),
        (
            {"kind": "cosine", "warmup_epochs": 2},
            lambda t: (
                min(1, (t + 0.25) / 2)
                * (2.0 if t < 2 else 1 + np.cos(np.pi * (t - 2) / 6))
            ),
        ),
    ],
)
def test_schedules_are_their_closed_forms(fields, expected):
    rate = Schedule(**fields).make(2.0, epochs=8, steps_per_epoch=4)
    found = [float(rate(step)) for step in range(32)]
    wanted = [expected(step / 4) for step in range(32)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    traced = jax.jit(jax.vmap(lambda s: rate(s) * jnp.ones(())))(jnp.arange(32))
    np.testing.assert_allclose(traced, wanted, rtol=1e-5, atol=1e-6)


def trajectory(fields, grads, rate=0.1):
    """The parameters after each of the gradients (of all of them alike)."""
    transform = Optimizer(**fields).make(rate)
    params = {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full((1,), 2.0)}
    state, found = transform.init(params), []
    for grad in grads:
        grad = jax.tree.map(lambda p, g=grad: jnp.full_like(p, g), params)
        updates, state = transform.update(grad, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        found.append((float(params["kernel"][0, 0]), float(params["bias"][0])))
    return np.array(found)


GRADS = (1.0, -0.5, 3.0)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torch_sgd(nesterov):
    x, buffer, expected = 2.0, 0.0, []
    for grad in GRADS:
        grad = grad + 0.01 * x  # L2 enters the momentum
        buffer = 0.9 * buffer + grad
        x -= 0.1 * (grad + 0.9 * buffer if nesterov else buffer)
        expected.append((x, x))
    fields = {"kind": "sgd", "weight_decay": 0.01, "nesterov": nesterov}
    np.testing.assert_allclose(trajectory(fields, GRADS), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_and_adamw_differ_in_where_the_decay_goes(kind):
    x, m, v, expected = 2.0, 0.0, 0.0, []
    for t, grad in enumerate(GRADS, start=1):
        decay = 0.01 * x
        grad = grad + (decay if kind == "adam" else 0.0)
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        move = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        x -= 0.1 * (move + (decay if kind == "adamw" else 0.0))
        expected.append((x, x))
    fields = {"kind": kind, "weight_decay": 0.01}
    np.testing.assert_allclose(trajectory(fields, GRADS), expected, rtol=1e-5)


def test_decay_may_spare_biases():
    fields = {"kind": "sgd", "weight_decay": 0.5, "decay_all": False, "momentum": 0}
    np.testing.assert_allclose(trajectory(fields, [0.0]), [(2.0 - 0.1, 2.0)])


def test_clipping_comes_before_decay():
    sgd = {"kind": "sgd", "momentum": 0.0, "weight_decay": 1.0}
    by_value = trajectory({**sgd, "clip_value": 0.25}, [-3.0])
    np.testing.assert_allclose(by_value, [[2 - 0.1 * (2 - 0.25)] * 2])
    # Two entries of 3 have norm 3 sqrt(2), which is cut to 1.
    by_norm = trajectory({**sgd, "clip_norm": 1.0}, [3.0])
    np.testing.assert_allclose(by_norm, [[2 - 0.1 * (2 + 0.5**0.5)] * 2])


PARAMS = {
    "stem": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
    "stage1": {"conv1": {"kernel": jnp.ones(3)}, "conv2": {"kernel": jnp.ones(3)}},
    "head": {"kernel": jnp.ones((2, 3))},
}


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_modules_have_rates_of_their_own_and_frozen_ones_stay(kind):
    fields = {"kind": kind, "learning_rate": 0.1, "weight_decay": 0.01}
    factors = ("head=10", "stage1/conv1=0.5", "stem=0", "=1/4")
    plain, own = (
        Optimizer(**fields, **more).make(0.1)
        for more in ({}, {"rate_factors": factors})
    )
    grads = jax.tree.map(lambda p: 0.3 * p, PARAMS)
    states = [one.init(PARAMS) for one in (plain, own)]
    for _ in range(3):
        (even, states[0]), (found, states[1]) = (
            one.update(grads, state, PARAMS)
            for one, state in zip((plain, own), states, strict=True)
        )
        for path, factor in {
            ("head", "kernel"): 10, ("stage1", "conv1", "kernel"): 0.5,
            ("stage1", "conv2", "kernel"): 0.25, ("stem", "kernel"): 0,
            ("stem", "bias"): 0,
        }.items():  # fmt: skip
            a, b = even, found
            for name in path:
                a, b = a[name], b[name]
            np.testing.assert_allclose(b, factor * a, rtol=1e-6)


def test_factors_of_no_module_and_no_number_are_refused():
    with pytest.raises(UsageError, match="no module 'heads'; modules: .*head"):
        Optimizer(rate_factors=("heads=2",)).make(0.1).init(PARAMS)
    for text in ("head", "head=x", "head=-1", "head=inf"):
        with pytest.raises(UsageError, match="give MODULE=FACTOR"):
            Optimizer(rate_factors=(text,))


def test_without_factors_the_state_is_what_it_was():
    state = Optimizer().make(0.1).init(PARAMS)
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(PARAMS))
    assert len(state) == 3  # decay, momentum and rate: runs of before resume


# Random networks and new starts -----------------------------------------------------

NOISY = {"weights": {"kernel": jnp.ones(2)}, "sigma": {"site": jnp.ones(3)}}


def test_noise_has_no_weight_decay_and_a_norm_of_its_own():
    fields = {"learning_rate": 1.0, "momentum": 0.0, "weight_decay": 0.5}
    make = Optimizer(**fields, clip_norm=1.0).make(1.0, (), "sigma")
    grads = {"weights": {"kernel": jnp.zeros(2)}, "sigma": {"site": jnp.full(3, 4.0)}}
    updates, _ = make.update(grads, make.init(NOISY), NOISY)
    np.testing.assert_allclose(updates["weights"]["kernel"], -0.5)
    np.testing.assert_allclose(updates["sigma"]["site"], -1 / np.sqrt(3), rtol=1e-6)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_step_of_the_noise_alone_leaves_weights_moments_and_counts(kind):
    rate = Schedule("steps", drop_epochs=(1,)).make(0.1, 2, steps_per_epoch=2)
    make = Optimizer(kind=kind, learning_rate=0.1, weight_decay=0.1).make(
        rate, (), "sigma"
    )
    grads = jax.tree.map(jnp.ones_like, NOISY)
    state = make.init(NOISY)
    params, after = noise_step(make, grads, state, NOISY, "sigma")
    np.testing.assert_array_equal(params["weights"]["kernel"], 1.0)
    np.testing.assert_allclose(params["sigma"]["site"], 0.9, rtol=1e-5)
    before, now = (s[0].inner_states for s in (state, after))
    jax.tree.map(np.testing.assert_array_equal, before["weights"], now["weights"])
    moved = [
        (np.ndim(a) > 0, np.any(a != b))
        for a, b in zip(
            *map(jax.tree.leaves, (before["noise"], now["noise"])), strict=True
        )
    ]
    assert moved and all(array == changed for array, changed in moved)


def test_moments_begin_anew_where_the_rate_drops():
    fields = {"kind": "adam", "learning_rate": 0.1}
    kept = Optimizer(**fields).make(0.1)
    anew = Optimizer(**fields, restart=True).make(0.1, (3.0, 4.5))
    states, fresh = [kept.init(PARAMS), anew.init(PARAMS)], kept.init(PARAMS)
    for step in range(7):
        grads = jax.tree.map(lambda p, s=step: (s - 2.5) * p, PARAMS)
        fresh = kept.init(PARAMS) if step in (3, 5) else fresh
        wanted, fresh = kept.update(grads, fresh, PARAMS)
        found, states[1] = anew.update(grads, states[1], PARAMS)
        jax.tree.map(np.testing.assert_array_equal, found, wanted)
        plain, states[0] = kept.update(grads, states[0], PARAMS)
        same = np.allclose(plain["head"]["kernel"], found["head"]["kernel"])
        assert same == (step < 3)
    # A schedule may change while a run goes on: the state's form must not.
    never = Optimizer(**fields, restart=True).make(0.1).init(PARAMS)
    assert jax.tree.structure(never) == jax.tree.structure(states[1])
    assert Schedule("steps", drop_epochs=(1, 2.5)).drops(4) == (4, 10.0)
    assert Schedule().drops(4) == ()
