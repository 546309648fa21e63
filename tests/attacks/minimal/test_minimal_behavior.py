"""What every attack that minimizes a norm promises, and FAB's step by hand."""

import jax
import numpy as np
import pytest

from jaxadv.attacks import (
    CarliniWagner,
    Ddn,
    DeepFool,
    ElasticNet,
    Fab,
    Fmn,
    HopSkipJump,
    Pgd0,
)
from jaxadv.classifier import Classifier
from jaxadv.craft import craft, craft_batches
from jaxadv.objectives import Expectation, Margin
from jaxadv.specs import UsageError
from jaxadv.threats import L0, L1, L2, Linf
from tests import nets
from tests.oracles.hyperplane import shortest_step

COUNT = 24
KEY = jax.random.key(3)
ATTACKS = {
    "carlini_wagner": CarliniWagner(
        L2(0.0), rounds=4, round_steps=15, search=5, first_constant=0.1, step_size=0.05
    ),
    "ddn": Ddn(L2(0.0), steps=30, search=5),
    "deepfool": DeepFool(Linf(0.0), steps=15),
    "elastic_net": ElasticNet(
        L1(0.0), rounds=4, round_steps=15, search=5, first_constant=0.1, step_size=0.05
    ),
    "fab": Fab(Linf(0.0), round_steps=8, targets=2, search=4),
    "fmn": Fmn(Linf(0.0), steps=30, search=5),
    "hop_skip_jump": HopSkipJump(L2(0.0), steps=400, init_evals=10),
    "pgd0": Pgd0(L0(0.0, pixels=True), steps=40, round_steps=8),
}
run = jax.jit(craft)


def problem(count=COUNT):
    """A network, images, and its own labels but for the last four."""
    model, (images, _) = nets.conv(seed=3), nets.batch(count)
    labels = nets.predicted(model, images).copy()
    labels[-4:] = (labels[-4:] + 1) % nets.CLASSES
    return model, images, labels


def margins(model, images, labels):
    return np.asarray(jax.vmap(lambda x, y: Margin()(model, x, y))(images, labels))


@pytest.mark.parametrize("name", ATTACKS)
def test_sizes_say_which_budgets_break_an_image(name):
    """An unbounded budget gives the norms; any other one follows from them.

    Not exactly so for PGD0, which begins with all the pixels of its budget.
    """
    model, images, labels = problem()

    def within(eps):
        eps = np.float32(np.broadcast_to(eps, COUNT))
        fields = {"threat.eps": eps}
        return run(ATTACKS[name], model, KEY, images, labels, per_image=fields)

    free = within(np.inf)
    assert np.all(free.success)
    clean = margins(model, images, labels)
    wrong = clean >= 0
    assert np.array_equal(free.size == 0, wrong) and wrong.sum() == 4
    assert np.array_equal(free.image[wrong], images[wrong])
    assert np.all(free.steps_used[wrong] <= 1)
    # What is broken is so in another program, at another batch size.
    again = np.concatenate([margins(model, free.image[i : i + 5], labels[i : i + 5])
                            for i in range(0, COUNT, 5)])  # fmt: skip
    assert np.all(again >= 0)
    exact = within(free.size)
    if name == "pgd0":
        assert np.all(exact.size <= free.size) and np.mean(exact.success) > 0.8
        return
    assert np.all(exact.success) and np.array_equal(exact.image, free.image)
    # Not the clean image where nothing is broken, but the best inside the budget.
    less = within(0.9 * np.asarray(free.size))
    assert np.array_equal(less.success, wrong)
    assert np.all(less.size <= 0.9 * free.size)
    assert np.all(less.margin[~wrong] > clean[~wrong])


@pytest.mark.parametrize("name", ATTACKS)
def test_networks_of_lower_precision_are_searched_as_they_are_verified(name):
    """At the boundary their own logits would call unbroken what float32 breaks."""
    model, (images, _) = nets.half(), nets.batch(COUNT)
    exact = model.full_precision()
    labels = nets.predicted(exact, images)
    attack = ATTACKS[name].replace(threat=ATTACKS[name].threat.replace(eps=1e4))
    found = run(attack, model, KEY, images, labels)
    want = run(attack, exact, KEY, images, labels)
    assert np.array_equal(found.success, want.success) and np.mean(found.success) > 0.9
    np.testing.assert_allclose(found.size, want.size, rtol=1e-5)


def _unbreakable(variables, image, key):
    return variables


def test_ddn_looks_no_further_than_the_box():
    images, _ = nets.batch(1)
    model = Classifier.from_function(_unbreakable, np.float32([1, 0]))
    attack, image = Ddn(L2(1.0), first_radius=5.0, gamma=0.5), images[0]
    state = attack.init(KEY, model, image, 0)
    for _ in range(3):  # of itself the radius would be 5 * 1.5**3
        state = attack.step(state, model, image, 0)
    corner = np.linalg.norm(np.maximum(image, 1 - image))
    np.testing.assert_allclose(state.own, corner, rtol=1e-6)


def test_an_expectation_is_refused():
    for kind, threat in ((Ddn, L2(1.0)), (Pgd0, L0(3.0)), (Fmn, Linf(0.1))):
        with pytest.raises(UsageError, match="objective is an Expectation"):
            kind(threat, Expectation(Margin(), samples=2))


def test_both_drivers_agree():
    model, images, labels = problem()
    for name in ("carlini_wagner", "fab", "pgd0"):
        threat = ATTACKS[name].threat
        eps = 1.0 if threat.norm == "linf" else 8.0
        attack = ATTACKS[name].replace(threat=threat.replace(eps=eps))
        one = run(attack, model, KEY, images, labels)
        other = craft_batches(attack, model, KEY, images, labels, batch_size=8)
        assert np.array_equal(one.success, other.success)
        np.testing.assert_allclose(one.size, other.size, rtol=0.02)


def test_the_search_ends_at_its_last_broken_point():
    model, images, labels = problem()
    before, after = (
        run(Ddn(L2(8.0), steps=steps, search=search), model, KEY, images, labels)
        for steps, search in ((15, 0), (25, 10))
    )
    assert np.all(before.success) and np.all(after.success)
    assert np.all(after.size <= before.size)
    assert np.mean(after.size < before.size) > 0.7
    assert np.mean(after.margin[:-4]) < np.mean(before.margin[:-4])


def test_more_rounds_never_find_larger_perturbations():
    model, images, labels = problem()
    few, starts, targets = (
        run(Fab(Linf(1.0), round_steps=2, search=0, targets=targets, starts=starts),
            model, KEY, images, labels)
        for targets, starts in ((1, 1), (1, 3), (3, 1))
    )  # fmt: skip
    assert np.mean(few.success) > 0.5
    for more in (starts, targets):
        assert np.all(more.success | ~few.success)
        sizes = np.stack([few.size, more.size])[:, few.success]
        assert np.all(sizes[1] <= sizes[0])
        assert np.any(more.success & ~few.success) or np.any(sizes[1] < sizes[0])


def test_early_stop_changes_no_success_and_saves_steps():
    model, images, labels = problem()
    full, early = (
        run(Fab(Linf(0.03), targets=3, round_steps=5, search=0, early_stop=stop),
            model, KEY, images, labels)
        for stop in (False, True)
    )  # fmt: skip
    assert np.array_equal(full.success, early.success)
    assert 0.2 < np.mean(early.success) < 0.9
    assert np.all(early.size[early.success] <= 0.03)
    assert np.mean(early.steps_used) < np.mean(full.steps_used)


def test_a_vanishing_gradient_is_no_obstacle():
    """Cross-entropy's is exactly zero where the logits are far apart."""
    model = nets.linear(seed=1)
    scaled = jax.tree.map(lambda x: 1e4 * x, model.variables)
    images, _ = nets.batch(COUNT)
    labels = nets.predicted(model, images)
    got = run(Ddn(L2(8.0)), model.replace(variables=scaled), KEY, images, labels)
    assert np.all(got.success)
    slope = jax.grad(lambda x: jax.nn.softmax(1e4 * model(x))[labels[0]])(images[0])
    assert not np.any(slope)


def test_fab_walks_as_its_algorithm_says():
    """Seven steps in l2 on a linear model, beside NumPy with an exact projection."""
    model = nets.linear((2, 2, 1), classes=2, seed=2)
    image = np.float32([0.0, 0.3, 0.9, 1.0]).reshape(2, 2, 1)
    label = int(nets.predicted(model, image[None])[0])
    attack = Fab(L2(2.0), round_steps=7, search=0)
    step, state = jax.jit(attack.step), jax.jit(attack.init)(KEY, model, image, label)
    w, b = (np.asarray(model.variables[k], np.float64) for k in "wb")
    normal, bias = w[1 - label] - w[label], b[1 - label] - b[label]
    origin = np.float64(image.ravel())
    x, moved, smallest = origin, [], np.inf

    def onto(point):
        gap = normal @ point + bias
        return shortest_step(gap, normal, "l2", -point, 1 - point)

    for _ in range(6):
        near, far = onto(x), onto(origin)
        share = np.linalg.norm(near) / (np.linalg.norm(near) + np.linalg.norm(far))
        alpha = min(share, 0.1)
        x = (1 - alpha) * (x + 1.05 * near) + alpha * (origin + 1.05 * far)
        x = np.clip(x, 0, 1)
        broken = normal @ x + bias >= 0
        if broken:
            smallest = min(smallest, np.linalg.norm(x - origin))
            x = 0.1 * origin + 0.9 * x
        moved.append(broken)
        state = step(state, model, image, label)
        np.testing.assert_allclose(state.params.ravel(), x - origin, atol=2e-4)
    assert len(set(moved)) == 2 or all(moved)
    np.testing.assert_allclose(state.best.size, smallest, rtol=1e-3)
