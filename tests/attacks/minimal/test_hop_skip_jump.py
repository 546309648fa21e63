"""HopSkipJump against closed forms, and its queries one by one in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import HopSkipJump
from jaxadv.attacks.minimal import hop_skip_jump as hsj
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.objectives import Margin
from jaxadv.specs import UsageError
from jaxadv.threats import L1, L2, Linf
from tests import nets

run = jax.jit(craft)
KEY = jax.random.key(0)
BALLS = {"l2": L2(8.0), "linf": Linf(1.0)}
FINEST = 2.0**-16


def _two(variables, image, key):
    """Logits of two classes, or as much as their order alone."""
    logits = variables["w"] @ image.reshape(-1) + variables["b"]
    order = jax.nn.one_hot(jnp.argmax(logits), 2) - 0.5
    return jnp.where(variables["hard"], variables["hard"] * order, logits)


def problem(count=6, hard=0.0):
    """A linear network, images 0.4 to 0.9 from its boundary in l2, and their labels.

    They are far from the edges of the box, and a fifth or more of random images are
    of another class.
    """
    linear = nets.linear(classes=2, seed=38)
    w = linear.variables["w"]
    variables = {"w": w, "b": -0.5 * w.sum(axis=1), "hard": jnp.float32(hard)}
    normal = np.asarray(w[1] - w[0], np.float64)
    rng = np.random.default_rng(0)
    away = np.linspace(0.4, 0.9, count) * (-1) ** np.arange(count)
    noise = rng.uniform(-0.1, 0.1, size=(count, normal.size))
    noise -= np.outer(noise @ normal, normal) / (normal @ normal)
    images = 0.5 + noise + np.outer(away, normal / np.linalg.norm(normal))
    images = np.float32(images.reshape(count, *nets.SHAPE))
    assert images.min() > 0.1 and images.max() < 0.9
    model = Classifier.from_function(_two, variables)
    return model, images, nets.predicted(model, images)


def plane(model):
    """The normal and the offset of the boundary, in float64."""
    w, b = (np.asarray(model.variables[name], np.float64) for name in "wb")
    return w[1] - w[0], b[1] - b[0]


def closed_form(model, images, norm):
    normal, offset = plane(model)
    gap = np.abs(np.float64(images).reshape(len(images), -1) @ normal + offset)
    return gap / (np.linalg.norm(normal) if norm == "l2" else np.abs(normal).sum())


@pytest.mark.parametrize("norm", BALLS)
def test_ten_thousand_queries_come_near_the_closed_form(norm):
    model, images, labels = problem()
    got = run(HopSkipJump(BALLS[norm]), model, KEY, images, labels)
    ratio = np.asarray(got.size) / closed_form(model, images, norm)
    assert np.all(got.success) and np.all(ratio >= 1 - 1e-5)
    # 1.009 to 1.013 in l2 and 1.010 to 1.026 in linf, where they were measured.
    assert np.all(ratio <= 1.05), ratio
    assert np.all(np.asarray(got.steps_used) == 10_000)


@pytest.mark.parametrize("norm", BALLS)
def test_decisions_alone_are_used(norm):
    """Logits that keep nothing but their order give the same images, bit for bit."""
    attack = HopSkipJump(BALLS[norm], steps=600, init_evals=20)
    soft, hard, large = (
        run(attack, model, KEY, images, labels)
        for model, images, labels in (problem(), problem(hard=1), problem(hard=1e4))
    )
    for other in (hard, large):
        np.testing.assert_array_equal(soft.image, other.image)
    assert not np.array_equal(soft.margin, hard.margin)


def test_a_step_is_one_query():
    """The network is called once a step, and once more where the result is verified."""
    calls = []

    def function(variables, image, key):
        jax.debug.callback(lambda: calls.append(1))
        return _two(variables, image, key)

    model, images, labels = problem(count=1)
    counted = Classifier.from_function(function, model.variables)
    attack = HopSkipJump(L2(8.0), steps=150, init_evals=10)
    got = run(attack, counted, KEY, images, labels)
    jax.effects_barrier()
    assert len(calls) == 151 and got.steps_used[0] == 150 and got.success[0]
    assert attack.passes == (1, 0)


def trace(attack, model, image, label):
    """What every step's query is at, and the best size after it."""

    @jax.jit
    def searched(model):
        def step(state, _):
            after = attack.step(state, model, image, label)
            return after, (state.params, after.best.size)

        return jax.lax.scan(step, attack.init(KEY, model, image, label), None, 700)[1]

    return jax.device_get(searched(model))


class Reference:
    """The algorithm on a half space, told the random points; in float64."""

    def __init__(self, attack, model, image, label, queries):
        self.norm, self.attack = attack.threat.norm, attack
        normal, offset = plane(model)
        sign = 1 if label == 0 else -1
        self.image, shape = np.float64(image), image.shape
        self.goal = lambda x: sign * ((self.image + x).ravel() @ normal + offset)
        self.queries, self.shape, self.turn = iter(queries), shape, 0
        self.best = []

    def ask(self, want=None):
        """(the next query, whether it is broken), which must be at `want`."""
        got = np.float64(next(self.queries))
        if want is not None:
            want = np.clip(want, -self.image, 1 - self.image)
            np.testing.assert_allclose(got, want, atol=3e-6)
        self.best.append(self.best[-1] if self.best else np.inf)
        return got, self.goal(got) >= 0

    def size(self, x):
        return np.linalg.norm(x) if self.norm == "l2" else np.abs(x).max()

    def counts(self, x):
        self.best[-1] = min(self.best[-1], self.size(x))

    def part(self, far, share):
        if self.norm == "l2":
            return share * far
        limit = share * np.abs(far).max()
        return np.clip(far, -limit, limit)

    def halve(self, far, part, tolerance):
        low, high, near = 0.0, 1.0, far
        while high - low > tolerance:
            middle = (low + high) / 2
            got, broken = self.ask(part(far, middle))
            if broken:
                self.counts(near)
                near, high = got, middle
            else:
                low = middle
        return near, high

    def boundary(self, far):
        d = self.image.size
        tolerance = max(d**-1.5 if self.norm == "l2" else d**-2.0, FINEST)
        near, high = self.halve(far, self.part, tolerance)
        outside, broken = self.ask(self.part(far, min(high + FINEST, 1.0)))
        if broken and high + FINEST <= 1:
            self.counts(outside)
        return near

    def walk(self):
        """Follows the queries until there are no more."""
        assert not self.ask(np.zeros(self.shape))[1]
        far, broken = self.ask()
        while not broken:
            far, broken = self.ask()
        self.counts(far)
        if self.norm == "linf":
            far, _ = self.halve(far, lambda x, share: share * x, 1e-3)
        near = self.boundary(far)
        for turn in range(1, 100):
            self.turn = turn
            radius = 0.1 if turn == 1 else self.size(far) / self.image.size
            moved, signs = [], []
            for _ in range(int(self.attack.init_evals * turn**0.5)):
                got, broken = self.ask()
                moved.append(got - near)
                signs.append(1 if broken else -1)
            lengths = np.linalg.norm(np.reshape(moved, (len(moved), -1)), axis=1)
            np.testing.assert_allclose(lengths, radius, rtol=2e-3)
            moved, signs = np.array(moved), np.array(signs)[:, None, None, None]
            if abs(signs.mean()) < 1:
                signs = signs - signs.mean()
            direction = (signs * moved).mean(0)
            if self.norm == "linf":
                direction = np.sign(direction)
            else:
                direction /= np.linalg.norm(direction)
            length = self.size(near) / turn**0.5
            far, broken = self.ask(near + length * direction)
            while not broken:
                length /= 2
                far, broken = self.ask(near + length * direction)
            near = self.boundary(far)


@pytest.mark.parametrize("norm", BALLS)
def test_queries_are_those_of_the_algorithm(norm):
    attack = HopSkipJump(BALLS[norm], steps=700, init_evals=20)
    model, images, labels = problem()
    queries, sizes = trace(attack, model, images[0], labels[0])
    reference = Reference(attack, model, images[0], labels[0], queries)
    with pytest.raises(StopIteration):
        reference.walk()
    assert len(reference.best) == 700 and reference.turn > 8
    np.testing.assert_allclose(sizes, reference.best, rtol=1e-5)
    assert np.all(sizes[1:] <= sizes[:-1])


@pytest.mark.parametrize("signs", ["mixed", "all", "none"])
def test_the_gradient_is_the_mean_less_a_baseline(signs):
    rng = np.random.default_rng(1)
    moved = rng.normal(size=(30, *nets.SHAPE)).astype(np.float32)
    broken = {"mixed": rng.random(30) < 0.3, "all": [True] * 30, "none": [False] * 30}
    walk = hsj.Walk.first(moved[0]).probing()
    for point, one in zip(moved, broken[signs], strict=True):
        walk = walk.probed(walk.near + point, jnp.array(bool(one)))
    value = np.where(broken[signs], 1.0, -1.0)
    if signs == "mixed":
        value = value - value.mean()
    want = (value[:, None, None, None] * moved).mean(0)
    got = walk.gradient / jnp.linalg.norm(walk.gradient)
    np.testing.assert_allclose(got, want / np.linalg.norm(want), atol=1e-6)


def test_wrong_images_cost_one_query():
    model, images, labels = problem()
    got = run(HopSkipJump(L2(8.0), steps=60), model, KEY, images, 1 - labels)
    assert np.all(got.size == 0) and np.all(got.success)
    assert np.all(np.asarray(got.steps_used) == 1)


def test_early_stop_ends_at_a_point_within_eps():
    model, images, labels = problem()
    eps = 1.3 * closed_form(model, images, "l2").astype(np.float32)
    full, early = (
        run(HopSkipJump(L2(0.0), steps=1000, init_evals=30, early_stop=stop),
            model, KEY, images, labels, per_image={"threat.eps": eps})
        for stop in (False, True)
    )  # fmt: skip
    assert np.all(full.success) and np.array_equal(full.success, early.success)
    assert np.all(early.size <= eps) and np.all(full.size <= early.size)
    assert np.all(np.asarray(early.steps_used) < 1000)


def test_what_nothing_breaks_is_drawn_to_the_end():
    model = Classifier.from_function(lambda v, x, key: v, jnp.array([1.0, 0.0]))
    images, _ = nets.batch(3)
    attack = HopSkipJump(Linf(0.1), steps=20)
    got = run(attack, model, KEY, images, np.zeros(3, np.int32))
    assert not np.any(got.success) and np.all(np.asarray(got.steps_used) == 20)
    assert np.all(got.size <= 0.1 * (1 + 1e-6)) and np.all(got.size > 0.05)


def test_other_balls_are_refused():
    with pytest.raises(UsageError, match="minimizes the norm of a ball: l2, linf"):
        HopSkipJump(L1(1.0), Margin())
