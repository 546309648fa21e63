"""Attacks that minimize a norm against the closed form on linear models."""

import jax
import numpy as np
import pytest

from jaxadv.attacks import CarliniWagner, Ddn, DeepFool, Fab, Fmn, Pgd0
from jaxadv.craft import craft
from jaxadv.objectives import TargetedCrossEntropy, TargetedMargin
from jaxadv.specs import UsageError
from jaxadv.threats import L0, L1, L2, Linf, LpipsBall, RotationTranslation
from tests import nets
from tests.oracles.linear import smallest_norm

COUNT = 12
SMALL = (4, 4, 1)  # the exact reference for l0 tries every subset
COLORED = (2, 3, 3)
# The whole unit box of each shape.
BALLS = {"l0": L0(64.0), "l1": L1(64.0), "l2": L2(8.0), "linf": Linf(1.0)}
run = jax.jit(craft)


def problem(shape=nets.SHAPE, classes=2, seed=38, scale=1.0):
    """No image of this seed is so near the boundary that rounding matters."""
    model = nets.linear(shape, classes, seed)
    scaled = jax.tree.map(lambda x: x * scale, model.variables)
    model = model.replace(variables=scaled)
    images, _ = nets.batch(COUNT, shape, seed=seed)
    return model, images, nets.predicted(model, images)


def smallest(model, images, labels, norm, pixels=False):
    w = np.asarray(model.variables["w"], np.float64).reshape(-1, *images.shape[1:])
    b = np.asarray(model.variables["b"], np.float64)
    return np.array(
        [
            smallest_norm(w, b, x, y, norm, pixels)
            for x, y in zip(images, labels, strict=True)
        ]
    )


def check(attack, model, images, labels, want):
    """Every image is broken at 1 to 1.01 times the smallest norm."""
    got = run(attack, model, jax.random.key(0), images, labels)
    assert np.all(got.success) and np.isfinite(want).all() and np.all(want > 0)
    assert np.all(got.size >= want * (1 - 1e-5))
    assert np.all(got.size <= want * 1.01)


# Logits of another scale make no difference, but to a constant that weighs them.
ALL_SCALES = (1.0, 1e-15, 1e15)
TWO_CLASS = [
    (Ddn, "l2", (1.0, 1e-15)),
    (Fmn, "linf", ALL_SCALES),
    (Fmn, "l2", ALL_SCALES),
    (Fmn, "l1", ALL_SCALES),
    (CarliniWagner, "l2", (1.0, 1e-3, 1e2)),
]


@pytest.mark.parametrize("kind,norm,scales", TWO_CLASS)
def test_gradient_attacks_reach_the_closed_form(kind, norm, scales):
    """A third of the pixels is saturated, so the box is active."""
    want = smallest(*problem(), norm)
    for scale in scales:
        model, images, labels = problem(scale=scale)
        check(kind(BALLS[norm]), model, images, labels, want)


@pytest.mark.parametrize("kind", [DeepFool, Fab])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_boundary_attacks_reach_the_closed_form_of_all_classes(kind, norm):
    want = smallest(*problem(classes=4), norm)
    for scale in ALL_SCALES:
        model, images, labels = problem(classes=4, scale=scale)
        check(kind(BALLS[norm]), model, images, labels, want)


def test_each_target_of_fab_is_tried():
    """Also where there are more targets than wrong classes."""
    model, images, labels = problem(classes=4)
    want = smallest(model, images, labels, "linf")
    attack = Fab(BALLS["linf"], targets=9, round_steps=10)
    check(attack, model, images, labels, want)
    one = Fab(BALLS["linf"], targets=1, round_steps=10)
    got = run(one, model, jax.random.key(0), images, labels)
    assert np.any(got.size > want * 1.01)


@pytest.mark.parametrize("kind", [Fmn, Pgd0])
@pytest.mark.parametrize("pixels", [False, True])
def test_sparse_attacks_find_the_smallest_count(kind, pixels):
    model, images, labels = problem(COLORED if pixels else SMALL)
    want = smallest(model, images, labels, "l0", pixels)
    attack = kind(L0(64.0, pixels=pixels))
    got = run(attack, model, jax.random.key(0), images, labels)
    assert np.array_equal(got.size, want) and len(set(want)) > 2
    # A budget that just suffices, which a range that ends too early would miss.
    exact, below = (
        craft(
            kind(L0(0.0, pixels=pixels)),
            model,
            jax.random.key(0),
            images,
            labels,
            per_image={"threat.eps": np.float32(want - less)},
        )
        for less in (0, 1)
    )
    assert np.all(exact.success) and not np.any(below.success)


@pytest.mark.parametrize(
    "attack",
    [
        Ddn(L2(8.0), TargetedCrossEntropy(2)),
        Fmn(L2(8.0), TargetedMargin(2)),
        CarliniWagner(L2(8.0), TargetedMargin(2, 0.0)),
    ],
)
def test_a_target_is_the_objective_s_and_not_the_label(attack):
    model, images, labels = problem(classes=4)
    images, labels = images[labels != 2], labels[labels != 2]
    got = run(attack, model, jax.random.key(0), images, labels)
    assert np.all(got.success)
    assert np.array_equal(nets.predicted(model, got.image), np.full(len(labels), 2))
    untargeted = smallest(model, images, labels, "l2")
    assert np.all(got.size >= untargeted * (1 - 1e-5))
    assert np.any(got.size > 1.05 * untargeted)


@pytest.mark.parametrize("kind", [DeepFool, Fab])
def test_boundary_attacks_refuse_a_target(kind):
    with pytest.raises(UsageError, match="objective is a TargetedMargin"):
        kind(Linf(0.1), TargetedMargin(2))


@pytest.mark.parametrize(
    "kind,threat",
    [
        (Ddn, Linf(0.1)),
        (Fab, L0(3.0)),
        (Fmn, LpipsBall(0.1)),
        (DeepFool, RotationTranslation()),
        (CarliniWagner, L1(1.0)),
        (Pgd0, L2(1.0)),
    ],
)
def test_an_attack_names_the_norms_it_minimizes(kind, threat):
    with pytest.raises(UsageError, match=f"threat is a {type(threat).__name__}"):
        kind(threat)


def test_a_search_longer_than_the_attack_is_refused():
    with pytest.raises(UsageError, match="search is 9; it must be at most the 5 steps"):
        Ddn(L2(1.0), steps=5, search=9)
