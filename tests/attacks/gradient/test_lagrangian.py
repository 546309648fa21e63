"""The Lagrangian attack against hand numbers and a transcription of its algorithm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import objectives
from jaxadv.attacks import ATTACKS
from jaxadv.attacks.gradient.lagrangian import Lagrangian
from jaxadv.craft import craft
from jaxadv.objectives import CrossEntropy, Margin
from jaxadv.specs import UsageError
from jaxadv.threats import Linf, Unbounded
from tests import nets

KEY = jax.random.key(0)
PATH = 0.365811  # the sum of the steps from 0.15 in five steps
ALPHA = 0.15 * 0.1 ** (np.arange(5) / 5)
run = jax.jit(craft)


def gray(count=6, shape=nets.SHAPE):
    """Images so far from the ends of the box that no path of 0.37 reaches them."""
    return np.full((count, *shape), 0.5, np.float32)


def two_classes(norm=None):
    """A linear network of two classes, labels 0, and the slope of its margin."""
    model = nets.linear(classes=2, seed=4)
    w = np.array(model.variables["w"], np.float64)
    if norm is not None:
        w *= norm / np.linalg.norm(w[1] - w[0])
    variables = {**model.variables, "w": jnp.array(w, jnp.float32)}
    return model.replace(variables=variables), (w[1] - w[0]).reshape(nets.SHAPE)


def walk(attack, model, image, label):
    """The perturbation before each step and after the last."""
    step = jax.jit(attack.step)
    state = attack.init(KEY, model, image, label)
    visited = [np.asarray(state.params)]
    for _ in range(attack.steps):
        state = step(state, model, image, label)
        visited.append(np.asarray(state.params))
    return visited


def test_a_slope_steeper_than_lam_is_followed_for_the_whole_path():
    np.testing.assert_allclose(ALPHA.sum(), PATH, atol=1e-6)
    model, w = two_classes(norm=5.0)
    images = gray()
    attack = Lagrangian(deviation=0.0, lam=2.0)
    got = run(attack, model, KEY, images, np.zeros(6, np.int32))
    want = ALPHA.sum() * w / np.abs(w).max()
    np.testing.assert_allclose(
        got.image - images, np.tile(want, (6, 1, 1, 1)), atol=1e-6
    )
    np.testing.assert_allclose(got.size, np.linalg.norm(want), rtol=1e-5)


def test_a_flatter_slope_oscillates_about_the_image():
    """The first step has no penalty to feel; each later one goes back towards zero."""
    model, w = two_classes(norm=5.0)
    attack = Lagrangian(deviation=0.0, lam=100.0)  # from 10 on
    visited = walk(attack, model, gray()[0], 0)
    unit = w / np.abs(w).max()
    along = [np.vdot(p, unit) / np.vdot(unit, unit) for p in visited]
    want = [0.0]
    for alpha in ALPHA:
        want.append(want[-1] - alpha * np.sign(want[-1]) if want[-1] else alpha)
    np.testing.assert_allclose(along, want, atol=1e-6)
    assert np.all(np.abs(along[1:]) <= ALPHA + 1e-6) and min(along) < 0 < max(along)


def transcribed(attack, model, image, label, start, clip):
    """Algorithm 1 in float64, its objective's gradient alone by jax."""

    def gain(image):
        if isinstance(attack.objective, Margin):
            found = objectives.margin(model(image), label)
            return jnp.minimum(found, attack.objective.kappa)
        return -jax.nn.log_softmax(model(image))[label]

    gradient = jax.jit(jax.grad(gain))
    delta, visited = start.astype(np.float64), [start]
    for i in range(attack.steps):
        lam = float(attack.lam) * float(attack.decay) ** (1 - i / attack.steps)
        alpha = float(attack.step_size) * float(attack.decay) ** (i / attack.steps)
        moved = image + delta
        g = np.asarray(gradient(jnp.float32(np.clip(moved, 0, 1))), np.float64)
        g[(moved < 0) | (moved > 1)] = 0.0  # the network sees the end of the box
        norm = np.linalg.norm(delta)
        g -= lam * delta / norm if norm else 0.0
        delta = delta + alpha * g / max(np.abs(g).max(), 1e-30)
        if clip:
            delta = np.clip(image + delta, 0, 1) - image
        visited.append(delta)
    return visited


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("objective", [Margin(), Margin(0.5), CrossEntropy()])
def test_it_is_algorithm_one_step_by_step(clip, objective):
    model, (images, labels) = nets.dense(), nets.batch(3)
    attack = Lagrangian(objective=objective, clip=clip)
    left = 0
    for image, label in zip(images, labels, strict=True):
        got = walk(attack, model, image, label)
        want = transcribed(attack, model, image, label, got[0], clip)
        for ours, theirs in zip(got, want, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
        left += np.sum((image + got[-1] < -1e-6) | (image + got[-1] > 1 + 1e-6))
    assert (left > 0) == (not clip)


def test_no_channel_moves_further_than_the_path():
    model, (images, labels) = nets.dense(seed=1), nets.batch(20)
    for lam, clip in ((0.0, False), (2.0, True), (30.0, False)):
        attack = Lagrangian(lam=lam, clip=clip)
        for image, label in zip(images[:3], labels[:3], strict=True):
            first, *_, last = walk(attack, model, image, label)
            assert np.abs(last).max() <= np.abs(first).max() + PATH + 1e-6
    got = run(Lagrangian(lam=30.0, clip=False), model, KEY, images, labels)
    assert np.all((got.image >= 0) & (got.image <= 1))


def test_the_start_is_normal_with_the_deviation():
    image, draws = gray(1, (40, 40, 3))[0], []
    for deviation in (0.1, 0.01):
        attack = Lagrangian(deviation=deviation)
        draws.append(np.asarray(attack.init(KEY, None, image, 0).params))
    np.testing.assert_allclose(np.std(draws[0]), 0.1, rtol=0.03)
    np.testing.assert_allclose(draws[0], 10 * draws[1], atol=1e-6)


def test_the_image_itself_is_no_number_by_zero():
    """The norm has no derivative there; a flat network is left where it is."""
    images, labels = nets.batch(4)
    still = run(Lagrangian(deviation=0.0), nets.sick("constant"), KEY, images, labels)
    assert np.array_equal(still.image, images) and np.all(still.size == 0)
    moved = run(Lagrangian(deviation=0.0), nets.dense(), KEY, images, labels)
    assert np.all(np.isfinite(moved.image)) and np.all(moved.size > 0)


def test_more_to_pay_is_a_smaller_change():
    model, (images, labels) = nets.dense(seed=2), nets.batch(16)
    sizes = [
        np.mean(run(Lagrangian(lam=lam), model, KEY, images, labels).size)
        for lam in (0.0, 2.0, 50.0)
    ]
    assert sizes[0] > sizes[1] > 2 * sizes[2]


def test_numbers_are_swept_in_one_program():
    model, (images, labels) = nets.dense(), nets.batch(2)
    fields = ("lam", "step_size", "decay", "deviation")
    program = jax.jit(lambda *arguments: craft(*arguments))
    for value in (0.3, 0.6):
        attack = Lagrangian(**dict.fromkeys(fields, value))
        program(attack, model, KEY, images, labels)
    assert program._cache_size() == 1


def test_only_an_unbounded_threat_is_searched():
    assert ATTACKS["lagrangian"] is Lagrangian
    assert Lagrangian(Unbounded("linf")).threat.measure == "linf"
    with pytest.raises(UsageError, match="Lagrangian.threat is a Linf; .* Unbounded"):
        Lagrangian(Linf(0.1))
    with pytest.raises(UsageError, match="decay is 1.5; it must be <= 1"):
        Lagrangian(decay=1.5)


def test_the_objective_counts_in_its_own_units():
    """Of a sure label the cross-entropy has no slope left: the penalty alone acts."""
    model, _ = two_classes(norm=5.0)
    variables = {**model.variables, "b": jnp.array([60.0, 0.0])}
    sure, image = model.replace(variables=variables), gray()[0]
    attack = Lagrangian(objective=CrossEntropy(), steps=1)
    first, last = walk(attack, sure, image, 0)
    want = first - 0.15 * first / np.abs(first).max()
    np.testing.assert_allclose(last, want, atol=1e-5)
