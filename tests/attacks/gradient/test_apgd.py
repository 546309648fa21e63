"""Auto-PGD against a NumPy reference, closed forms, and plain PGD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import struct
from jaxadv.attacks import Apgd, ApgdL1, Ascent
from jaxadv.attacks.gradient.apgd import checkpoints
from jaxadv.craft import craft, craft_batches
from jaxadv.objectives import (
    DLR,
    CrossEntropy,
    LikelyTarget,
    Margin,
    RandomTarget,
    TargetedDLR,
    TargetedMargin,
    margin,
)
from jaxadv.specs import UsageError
from jaxadv.threats import L1, L2, Linf
from tests import nets
from tests.oracles import apgd as oracle
from tests.oracles import apgd_l1 as oracle_l1
from tests.oracles.linear import worst_margin
from tests.oracles.projections import project

run = jax.jit(craft)
SHAPE = (4, 4, 1)
RNG = np.random.default_rng(0)


@struct.dataclass
class Wave:
    """A bumpy function of the image, whatever the model."""

    scale: jax.Array
    shift: jax.Array
    goal = staticmethod(margin)

    def __call__(self, model, image, label, key=None):
        return jnp.sum(
            jnp.sin(3 * self.scale * image) - self.scale * self.shift * image
        )


def reference_wave(scale, shift):
    def function(x):
        value = np.sum(np.sin(3 * scale * x) - scale * shift * x)
        return value, 3 * scale * np.cos(3 * scale * x) - scale * shift

    return function


def in_double(x):
    return x.astype(jnp.float64) if x.dtype == jnp.float32 else x


def test_the_schedule_is_that_of_the_paper():
    ends = np.flatnonzero(checkpoints(100))
    assert ends.tolist() == [22, 41, 57, 70, 80, 87, 93, 99]
    for steps in (1, 5, 13, 50, 77, 1000):
        want = [m for m in oracle.marks(steps) if m > 0]
        assert np.flatnonzero(checkpoints(steps)).tolist() == sorted(set(want))
        assert checkpoints(steps).sum() == max(want)


@pytest.mark.parametrize("norm,threat", [("linf", Linf(0.2)), ("l2", L2(0.6))])
def test_every_iterate_is_the_reference_s(norm, threat):
    """In double precision, inside the box; halvings and restarts included."""
    scale, shift = RNG.uniform(1, 6, SHAPE), RNG.uniform(-1, 1, SHAPE)
    image = RNG.uniform(0.4, 0.6, SHAPE)
    steps = 60
    with jax.enable_x64(True):
        model = nets.linear(SHAPE)
        wave = Wave(jnp.array(scale), jnp.array(shift))
        attack = Apgd(threat, wave, steps=steps, early_stop=False)
        state = attack.init(jax.random.key(1), model, jnp.array(image), 0)
        state = jax.tree.map(in_double, state)
        start = image + np.asarray(state.params)
        step = jax.jit(attack.step)
        got, sizes = [start], []
        for _ in range(steps):
            state = step(state, model, jnp.array(image), 0)
            got.append(image + np.asarray(state.params))
            sizes.append(float(state.own.size))
    want, etas = oracle.run(
        reference_wave(scale, shift), start, image, norm, threat.eps, steps
    )
    assert len(set(etas)) >= 3  # it was halved
    assert np.allclose(np.array(sizes) * threat.eps, etas, rtol=1e-12)
    assert np.allclose(got, want, atol=1e-9)


@pytest.mark.parametrize("stages", [((1.0, 75),), ((3.0, 30), (2.0, 30), (1.0, 40))])
def test_every_iterate_is_the_reference_s_in_l1(stages):
    """In double precision, with channels that end and that start at the box."""
    shape, eps, rng = (6, 6, 1), 3.0, np.random.default_rng(3)
    scale, shift = rng.uniform(0.2, 0.9, shape), rng.uniform(-1, 1, shape)
    image = rng.uniform(0, 1, shape)
    image[:2], image[2] = 0, 1
    image[3], scale[3], shift[3] = 0.9, 0.6, -4  # brighter is better
    steps = sum(n for _, n in stages)
    with jax.enable_x64(True):
        model = nets.linear(shape)
        wave = Wave(jnp.array(scale), jnp.array(shift))
        attack = ApgdL1(
            L1(eps), wave, steps=steps, early_stop=False,
            stages=tuple(m for m, _ in stages),
            fractions=tuple(n / steps for _, n in stages),
        )  # fmt: skip
        state = attack.init(jax.random.key(1), model, jnp.array(image), 0)
        state = jax.tree.map(in_double, state)
        ball = float(eps * stages[0][0])
        start = project(np.asarray(state.params), "l1", ball, -image, 1 - image)
        state = state.replace(params=jnp.array(start))
        step = jax.jit(attack.step)
        got = []
        for _ in range(steps):
            got.append(np.asarray(state.params))
            state = step(state, model, jnp.array(image), 0)
    want, lengths = oracle_l1.run(
        reference_wave(scale, shift), start, image, eps, stages
    )
    room = np.where(want > 0, 1 - image, image)
    assert np.any((np.abs(want) == room) & (image > 0) & (image < 1))
    assert len(set(lengths / eps)) >= 3
    assert np.allclose(got, want, atol=1e-9)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5), L1(1.5)])
def test_linear_networks_are_broken_as_far_as_possible(threat):
    model = nets.linear(SHAPE, classes=2)
    images, _ = nets.batch(12, SHAPE)
    labels = nets.predicted(model, images)
    make = ApgdL1 if isinstance(threat, L1) else Apgd
    attack = make(threat, Margin(), steps=100, early_stop=False)
    found = run(attack, model, jax.random.key(0), images, labels)
    w = np.asarray(model.variables["w"], np.float64).reshape(-1, *SHAPE)
    b = np.asarray(model.variables["b"], np.float64)
    for image, label, got, start in zip(
        images, labels, found.margin, clean_margins(model, images, labels), strict=True
    ):
        want = worst_margin(
            w, b, image.astype(np.float64), label, threat.norm, float(threat.eps)
        )[0]
        if want >= 0:  # the best broken point is the one of largest margin
            assert want - 0.02 * (want - start) <= got <= want + 1e-4


def clean_margins(model, images, labels):
    margins = jax.vmap(lambda x, y: Margin()(model, x, y))(images, labels)
    return np.asarray(margins)


def test_not_weaker_than_pgd_of_a_tuned_step():
    model, (images, _) = nets.dense(), nets.batch(48)
    labels = nets.predicted(model, images)
    for threat in (Linf(0.06), L2(0.4)):
        pgd = Ascent(threat, CrossEntropy(), steps=25, rel_step_size=0.15)
        weaker = run(pgd, model, jax.random.key(0), images, labels).success.sum()
        for objective in (CrossEntropy(), DLR()):
            attack = Apgd(threat, objective, steps=25)
            got = run(attack, model, jax.random.key(0), images, labels).success.sum()
            assert 0 < weaker < 48 and got >= weaker - 1


def test_larger_stages_help_in_l1_and_stay_inside():
    model, (images, _) = nets.dense(), nets.batch(48)
    labels = nets.predicted(model, images)
    counts = []
    for stages, fractions in (((1.0,), (1.0,)), ((3.0, 2.0, 1.0), (0.3, 0.3, 0.4))):
        attack = ApgdL1(L1(2.0), steps=50, stages=stages, fractions=fractions)
        got = run(attack, model, jax.random.key(0), images, labels)
        assert np.all(got.size <= 2.0 * (1 + 1e-6))
        counts.append(int(got.success.sum()))
    slide = Ascent(L1(2.0, fraction=0.1), steps=50, rel_step_size=0.1)
    pgd = int(run(slide, model, jax.random.key(0), images, labels).success.sum())
    assert pgd <= max(counts) + 1 and counts[0] <= counts[1] + 2


def test_wrong_threats_and_stages_are_named():
    with pytest.raises(UsageError, match="searches a L1"):
        ApgdL1(Linf(0.1))
    with pytest.raises(UsageError, match="last stage must be 1.0"):
        ApgdL1(L1(1.0), stages=(2.0,), fractions=(1.0,))


class TestRandomTarget:
    def test_every_wrong_class_is_drawn_alike_and_any_is_a_success(self):
        model, image = nets.linear(), nets.batch(1)[0][0]
        keys = jax.random.split(jax.random.key(0), 3000)
        bound = jax.vmap(lambda k: RandomTarget().bind(model, image, 1, k).target)(keys)
        counts = np.bincount(bound, minlength=nets.CLASSES)
        assert counts[1] == 0
        share = np.delete(counts, 1) / 3000
        assert np.allclose(share, 1 / (nets.CLASSES - 1), atol=0.04)
        one = RandomTarget("margin").replace(target=2)
        assert one(model, image, 1) == TargetedMargin(2)(model, image, 1)
        assert one.goal(np.float32([0, 0, 3, 1]), 0) > 0


class TestLikelyTarget:
    def test_each_restart_has_the_next_class(self):
        model = nets.linear(classes=4)
        (image,), _ = nets.batch(1)
        logits = np.asarray(model(image))
        label = int(np.argsort(-logits)[1])
        wrong = [c for c in np.argsort(-logits) if c != label]
        for restart in range(6):
            bound = LikelyTarget().restarted(restart).bind(model, image, label)
            assert bound.target == wrong[restart % 3]
            want = TargetedDLR(wrong[restart % 3])(model, image, label)
            assert np.allclose(bound(model, image, label), want)

    @pytest.mark.parametrize("driver", [run, craft_batches])
    def test_drivers_visit_every_target(self, driver):
        """Class 2 is the runner-up everywhere and out of reach; class 1 is not."""
        model = nets.linear(SHAPE, classes=3)
        w = np.array(model.variables["w"])
        w[0], w[2] = 0, 0
        bias = jnp.array([0.2, 0.0, 0.15])
        variables = {"w": jnp.array(w), "b": bias}
        images = np.full((4, *SHAPE), 0.5, np.float32)
        images -= 0.01 * np.sign(w[1]).reshape(SHAPE)
        labels = np.zeros(4, np.int32)
        model = model.replace(variables=variables)
        assert np.all(nets.predicted(model, images) == 0)
        broken = []
        for restarts in (1, 2):
            attack = Apgd(Linf(0.3), LikelyTarget(), steps=3, restarts=restarts)
            got = driver(attack, model, jax.random.key(0), images, labels)
            broken.append(bool(np.all(got.success)))
        assert broken == [False, True]

    @pytest.mark.parametrize("classes", [2, 3])
    def test_few_classes(self, classes):
        model = nets.linear(classes=classes)
        images, _ = nets.batch(8)
        labels = nets.predicted(model, images)
        attack = Apgd(Linf(0.3), LikelyTarget(), steps=5, restarts=9)
        got = run(attack, model, jax.random.key(0), images, labels)
        assert np.all(got.success)
