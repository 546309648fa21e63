"""Attacks against the closed form on linear models, and on models that are sick."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import struct
from jaxadv.attacks import ATTACKS, Ascent, Fgsm, UniformNoise
from jaxadv.attacks.gradient.ascent import SCHEDULES
from jaxadv.craft import craft
from jaxadv.objectives import CrossEntropy, Expectation, Margin, TargetedMargin, margin
from jaxadv.specs import UsageError
from jaxadv.threats import L0, L1, L2, THREATS, Linf, RotationTranslation
from tests import examples, nets
from tests.oracles.linear import worst_margin

COUNT = 12
SMALL = (4, 4, 1)  # the exact reference for l0 tries every subset
BALLS = {"l0": L0(3.0), "l1": L1(1.5, fraction=0.1), "l2": L2(0.5), "linf": Linf(0.1)}
run = jax.jit(craft)


def closed_form(model, images, labels, threat):
    w = np.asarray(model.variables["w"], np.float64).reshape(-1, *images.shape[1:])
    b = np.asarray(model.variables["b"], np.float64)
    eps = float(threat.eps)
    return np.array(
        [
            worst_margin(w, b, x.astype(np.float64), y, threat.norm, eps)[0]
            for x, y in zip(images, labels, strict=True)
        ]
    )


def start(model, images, labels):
    margins = jax.vmap(lambda x, y: Margin()(model, x, y))(images, labels)
    return np.asarray(margins)


def two_class_batch():
    """With two classes the margin is linear, so its optimum is one vertex."""
    model = nets.linear(SMALL, classes=2)
    images, _ = nets.batch(COUNT, SMALL)
    return model, images, nets.predicted(model, images)


@pytest.mark.parametrize("norm", BALLS)
def test_pgd_reaches_the_closed_form(norm):
    model, images, labels = two_class_batch()
    threat = BALLS[norm]
    step = {"step_size": 100.0} if norm == "l0" else {"rel_step_size": 0.25}
    attack = Ascent(threat, Margin(), steps=40, keep="last", **step)
    got = run(attack, model, jax.random.key(0), images, labels)
    want = closed_form(model, images, labels, threat)
    gain = want - start(model, images, labels)
    assert np.all(got.margin <= want + 1e-4)
    assert np.all(want - got.margin <= 0.01 * gain)


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("objective", [Margin(), CrossEntropy()])
def test_one_step_is_exact(norm, objective):
    model, images, labels = two_class_batch()
    threat = BALLS[norm]
    attack = Fgsm(threat, objective)
    got = run(attack, model, jax.random.key(0), images, labels)
    want = closed_form(model, images, labels, threat)
    assert np.allclose(got.margin, want, atol=1e-4)


@struct.dataclass
class Gap:
    """An objective of the user's own: one class against the label."""

    target: int

    goal = staticmethod(margin)

    def __call__(self, model, image, label, key=None):
        logits = model(image, key)
        return logits[self.target] - logits[label]


def test_several_classes_reach_the_closed_form_target_by_target():
    model = nets.linear(SMALL)
    images, _ = nets.batch(COUNT, SMALL)
    labels = nets.predicted(model, images)
    threat = Linf(0.05)
    want = closed_form(model, images, labels, threat)
    best = np.full(COUNT, -np.inf)
    for target in range(nets.CLASSES):
        attack = Ascent(threat, Gap(target), steps=20, rel_step_size=0.3, keep="last")
        got = run(attack, model, jax.random.key(0), images, labels)
        best = np.where(labels == target, best, np.maximum(best, got.margin))
    assert np.allclose(best, want, atol=1e-4)


PAIRS = [(a, t) for a in ATTACKS for t in THREATS if examples.fits(a, t)]


@pytest.mark.parametrize("attack_name,threat_name", PAIRS)
@pytest.mark.parametrize("kind", nets.SICK)
def test_every_attack_stays_feasible(attack_name, threat_name, kind):
    model = nets.sick(kind)
    images, labels = nets.batch(6)
    threat = examples.threat(threat_name)
    attack = examples.attack(attack_name, threat)
    got = run(attack, model, jax.random.key(0), images, labels)
    assert np.all(np.isfinite(got.image) & (got.image >= 0) & (got.image <= 1))
    assert np.all(got.size <= threat.eps * (1 + 1e-6))
    assert np.all(np.isnan(got.margin)) == (kind == "nan")
    assert not np.any(got.success & np.isnan(got.margin))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 3)])
@pytest.mark.parametrize("threat_name", THREATS)
def test_odd_shapes_and_traced_budgets(threat_name, shape):
    model, (images, labels) = nets.linear(shape), nets.batch(6, shape)
    attack = examples.attack("pgd", examples.threat(threat_name))
    for scale in (0.0, 1e-3, 30.0):
        swept = jax.tree.map(lambda x, s=scale: x * s if x > 0 else x, attack)
        if threat_name == "masked":
            limit = 1.0
        else:
            limit = float(swept.threat.eps)
        if threat_name == "lpips":  # of equal images in two programs: rounding
            limit += 1e-7
        got = run(swept, model, jax.random.key(0), images, labels)
        assert np.all(got.size <= limit * (1 + 1e-6))
        assert np.all(np.isfinite(got.image))


@pytest.mark.parametrize("attack_name", ATTACKS)
def test_success_is_what_the_returned_image_does(attack_name):
    model, (images, labels) = nets.conv(), nets.batch(32)
    threat = examples.threat(examples.threat_for(attack_name))
    attack = examples.attack(attack_name, threat)
    got = run(attack, model, jax.random.key(0), images, labels)
    predicted = nets.predicted(model, got.image)
    assert np.array_equal(np.asarray(got.success), predicted != labels)
    assert np.array_equal(got.success, got.margin >= 0)
    if isinstance(threat, Linf):
        measured = np.abs(np.asarray(got.image) - images).max((1, 2, 3))
        assert np.array_equal(got.size, measured)


@pytest.mark.parametrize("attack_name", ["fast_lpa", "grid", "lpa", "ppgd"])
def test_an_attack_names_the_threat_it_needs(attack_name):
    with pytest.raises(UsageError, match="threat is a Linf"):
        examples.attack(attack_name, Linf(0.1))
    with pytest.raises(UsageError, match="RotationTranslation, which has no closed"):
        Fgsm(RotationTranslation())


def broken_by(attack, model, images, labels):
    got = run(attack, model, jax.random.key(5), images, labels)
    return np.asarray(got.success)


class TestMonotone:
    """Nested keys and the best point so far make these hold image by image."""

    model = nets.conv(seed=3)
    images, _ = nets.batch(64)
    labels = nets.predicted(model, images)

    def broken(self, **fields):
        fields = {"steps": 2, "rel_step_size": 0.3, **fields}
        eps = fields.pop("eps", 0.04)
        attack = Ascent(Linf(eps), **fields)
        return broken_by(attack, self.model, self.images, self.labels)

    def test_more_steps(self):
        results = [self.broken(steps=n) for n in (1, 2, 6)]
        for fewer, more in zip(results, results[1:], strict=False):
            assert np.all(more | ~fewer)
        assert results[-1].sum() > results[0].sum()

    def test_more_restarts(self):
        results = [self.broken(steps=1, restarts=n) for n in (1, 2, 3)]
        for fewer, more in zip(results, results[1:], strict=False):
            assert np.all(more | ~fewer)
        assert results[-1].sum() > results[0].sum()

    def test_larger_eps(self):
        counts = [self.broken(eps=e).sum() for e in (0.0, 0.02, 0.04, 0.08, 0.3)]
        assert counts == sorted(counts) and counts[0] == 0
        assert counts[-1] > 0.9 * len(self.labels)

    def test_more_draws_of_noise(self):
        results = [
            broken_by(
                UniformNoise(Linf(0.3), steps=n), self.model, self.images, self.labels
            )
            for n in (1, 8)
        ]
        for fewer, more in zip(results, results[1:], strict=False):
            assert np.all(more | ~fewer)

    def test_the_last_restart_does_not_replace_a_success(self):
        single = self.broken(steps=1)
        assert np.all(self.broken(steps=1, restarts=3) | ~single)


def test_early_stop_changes_no_success_and_saves_steps():
    model = nets.conv(seed=3)
    images, _ = nets.batch(48)
    labels = nets.predicted(model, images)
    kwargs = dict(threat=Linf(0.06), steps=8, rel_step_size=0.3)
    full, early = (
        run(Ascent(early_stop=e, **kwargs), model, jax.random.key(0), images, labels)
        for e in (False, True)
    )
    assert np.array_equal(full.success, early.success)
    assert 0 < np.mean(early.success) < 1
    assert np.all(early.steps_used[early.success] <= 8)
    assert np.mean(early.steps_used) < 8 and np.all(full.steps_used == 8)


def test_momentum_with_zero_decay_is_pgd():
    model, (images, labels) = nets.conv(), nets.batch(16)
    kwargs = dict(threat=Linf(0.1), steps=3, rel_step_size=0.3)
    plain, zero, some = (
        run(Ascent(momentum=m, **kwargs), model, jax.random.key(0), images, labels)
        for m in (None, 0.0, 1.0)
    )
    assert np.array_equal(plain.image, zero.image)
    assert not np.array_equal(plain.image, some.image)


def test_schedules_start_at_one_and_shrink():
    t = jnp.arange(8) / 8
    for name, schedule in SCHEDULES.items():
        values = np.asarray(schedule(t))
        assert values[0] == 1 and np.all(np.diff(values) <= 0) and values[-1] > 0
        assert (values[-1] == 1) == (name == "constant")


def test_a_targeted_success_is_the_target():
    model = nets.linear()
    images, _ = nets.batch(16)
    labels = nets.predicted(model, images)
    attack = Ascent(Linf(0.3), TargetedMargin(2), steps=10, rel_step_size=0.2)
    got = run(attack, model, jax.random.key(0), images, labels)
    assert np.array_equal(got.success, nets.predicted(model, got.image) == 2)
    assert np.mean(got.success) > 0.9


def test_expectation_beats_a_single_draw_on_a_noisy_model():
    """Averaged gradients move along the signal, single ones partly along noise."""
    model = nets.noisy(seed=1)
    images, _ = nets.batch(32)
    labels = nets.predicted(nets.linear(seed=1), images)
    threat = L2(0.15)
    margins = []
    for objective in (CrossEntropy(), Expectation(CrossEntropy(), 32)):
        attack = Ascent(threat, objective, steps=6, rel_step_size=0.3, keep="last")
        got = run(attack, model, jax.random.key(0), images, labels)
        clean = nets.linear(seed=1)
        logits_margin = jax.vmap(lambda x, y, m=clean: Margin()(m, x, y))
        margins.append(np.mean(logits_margin(got.image, labels)))
    assert margins[1] >= margins[0]


def test_one_lucky_draw_is_no_success():
    """Noise of 0.5 on the logits breaks images without any change of them."""
    clean = nets.linear(seed=1)
    clean = clean.replace(variables=jax.tree.map(lambda x: 0.1 * x, clean.variables))
    model = nets.noisy().replace(variables=clean.variables)
    images, _ = nets.batch(32)
    labels = nets.predicted(clean, images)
    margins = start(clean, images, labels)
    sure = margins < -0.2
    broken = []
    for objective in (CrossEntropy(), Expectation(CrossEntropy(), 256)):
        attack = UniformNoise(Linf(0.0), objective, steps=20)
        got = run(attack, model, jax.random.key(0), images, labels)
        broken.append(np.asarray(got.success)[sure])
    assert np.any(broken[0]) and not np.any(broken[1])
