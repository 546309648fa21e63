"""Domains: each against its own loss, and the weights' ascent step."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxadv import objectives, protocols, specs
from jaxadv.objectives import domains, transforms
from tests import nets
from tests.oracles import projections as oracle


@settings(deadline=None)  # the first example compiles
@given(hnp.arrays(np.float64, 4, elements=st.floats(-3, 3)), st.floats(0, 5))
def test_the_step_is_the_projected_gradient_of_the_regularized_sum(losses, gamma):
    weights = np.array([0.1, 0.2, 0.3, 0.4])

    def value(w):
        return w @ losses - gamma / 2 * ((w - 0.25) ** 2).sum()

    with jax.enable_x64(True):
        found = domains.ascend(weights, losses, 0.1, gamma)
        moved = weights + 0.1 * np.asarray(jax.grad(value)(weights))
    np.testing.assert_allclose(found, oracle.project_simplex(moved), atol=1e-12)


def test_repeated_steps_reach_the_largest_loss_or_the_average():
    losses, w = np.float32([1, 2, 0]), domains.uniform(3)
    for _ in range(200):
        w = domains.ascend(w, losses, 0.1, 0.0)
    np.testing.assert_array_equal(w, [0, 1, 0])
    for _ in range(200):
        w = domains.ascend(w, losses, 0.1, 4.0)
    # 1/3 + (loss - mean loss) / gamma, inside the simplex
    np.testing.assert_allclose(w, [1 / 3, 7 / 12, 1 / 12], atol=1e-6)
    # A step that would swing around that point is cut to the one that reaches it.
    w = domains.ascend(np.float32([0, 0, 1]), losses, 10.0, 4.0)
    np.testing.assert_allclose(w, [1 / 3, 7 / 12, 1 / 12], atol=1e-6)


def test_rows_are_their_own_and_a_nan_counts_as_zero():
    losses = np.float32([[1, np.nan], [-1, np.inf]])
    found = domains.ascend(np.full((2, 2), 0.5, np.float32), losses, 0.5, 0.0)
    np.testing.assert_allclose(found, [[0.75, 0.25], [0.25, 0.75]])


MODELS = tuple(nets.linear(seed=seed) for seed in range(3))
IMAGES, LABELS = nets.batch(3)
VIEWS = (transforms.Identity(), transforms.FlipUpDown(), transforms.Brightness())
KINDS = {
    "models": (domains.Models(), MODELS, IMAGES[0], LABELS[0]),
    "images": (domains.Images(), MODELS[0], IMAGES, LABELS),
    "transforms": (domains.Transforms(VIEWS), MODELS[0], IMAGES[0], LABELS[0]),
}


def one_by_one(kind):
    """The three domains' (model, image, label), by hand."""
    _, model, image, label = KINDS[kind]
    if kind == "models":
        return [(m, image, label) for m in model]
    if kind == "images":
        return [(model, x, y) for x, y in zip(image, label, strict=True)]
    return [(model, t(image), label) for t in VIEWS]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", [objectives.CrossEntropy(), objectives.Margin()])
def test_losses_and_goals_are_those_of_each_domain(kind, objective):
    over, *where = KINDS[kind]
    weighted = domains.Weighted(over, objective, weights=(0.5, 0.3, 0.2))
    want = [objective(*one) for one in one_by_one(kind)]
    np.testing.assert_allclose(weighted.losses(*where), want, rtol=1e-5)
    np.testing.assert_allclose(
        weighted(*where), np.dot([0.5, 0.3, 0.2], want), rtol=1e-5
    )
    goals = [objectives.margin(m(x), y) for m, x, y in one_by_one(kind)]
    np.testing.assert_allclose(weighted.goals(*where), goals, rtol=1e-5)
    np.testing.assert_allclose(
        objectives.goal_at(weighted, *where, None), min(goals), rtol=1e-5
    )
    average = weighted.replace(weights=None)
    np.testing.assert_allclose(average(*where), np.mean(want), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_depends_on_the_clean_image_is_bound_in_each_domain(kind):
    over, *where = KINDS[kind]
    key = jax.random.PRNGKey(0)
    bound = domains.Weighted(over, objectives.KL()).bind(*where, key)
    assert np.allclose(bound.losses(*where, key), 0, atol=1e-5)
    moved = [where[0], where[1] * 0.5, where[2], key]
    clean = [m(x) for m, x, _ in one_by_one(kind)]
    if kind == "transforms":
        now = [where[0](t(where[1] * 0.5)) for t in VIEWS]
    else:
        now = [m(x * 0.5) for m, x, _ in one_by_one(kind)]
    want = [objectives.kl_divergence(a, b) for a, b in zip(clean, now, strict=True)]
    np.testing.assert_allclose(bound.losses(*moved), want, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_may_be_the_predictions(kind):
    over, *where = KINDS[kind]
    weighted = domains.Weighted(over, objectives.Margin(), targets="prediction")
    bound = weighted.bind(*where, jax.random.PRNGKey(0))
    want = [objectives.margin(m(x), np.argmax(m(x))) for m, x, _ in one_by_one(kind)]
    np.testing.assert_allclose(bound.losses(*where), want, rtol=1e-5)
    # Success is still asked of the label.
    np.testing.assert_array_equal(bound.goals(*where), weighted.goals(*where))


def test_random_domains_draw_their_own():
    """Also a model twice in one ensemble, and the same draw for loss and goal."""
    model, key = nets.noisy(), jax.random.PRNGKey(3)
    weighted = domains.Weighted(objective=objectives.Margin())
    losses = weighted.losses((model, model), IMAGES[0], 0, key)
    assert losses[0] != losses[1]
    np.testing.assert_array_equal(
        losses, weighted.goals((model, model), IMAGES[0], 0, key)
    )
    coin = transforms.Sometimes(transforms.Brightness(), 0.5)
    flips = domains.Weighted(domains.Transforms((coin,) * 64), objectives.Margin())
    drawn = np.unique(flips.losses(MODELS[0], IMAGES[0], 0, key).round(4))
    assert len(drawn) == 2
    restarted = domains.Weighted(objective=objectives.LikelyTarget("margin"))
    assert protocols.restarted(restarted, 2).objective.rank == 2


def test_weights_may_be_whole_numbers_and_not_negative():
    weighted = domains.Weighted(domains.Images(), weights=(0, 0, 1))
    weights = weighted.initial(MODELS[0], IMAGES)
    assert weights.dtype == np.float32
    with pytest.raises(specs.UsageError, match="must be >= 0"):
        domains.Weighted(weights=(0.5, -0.5, 1.0))


@pytest.mark.parametrize("weights", [(1, 1), (0.5, 0.2), np.array([2.0, 0.0])])
def test_weights_are_no_factor_on_the_objective(weights):
    with pytest.raises(specs.UsageError, match="must sum to 1: divide each by their"):
        domains.Weighted(weights=weights)
    domains.Weighted(weights=(0.33, 0.33, 0.33))
    # As a compiler, a mapping over examples and a copy to several devices see them.
    whole = domains.Weighted(weights=np.array([0.25, 0.75]))
    for stacked in (jax.tree.map(lambda x: np.stack([x, x]), whole), jax.eval_shape(
        lambda given: given, whole
    )):  # fmt: skip
        assert isinstance(stacked, domains.Weighted)


def test_built_from_a_config():
    spec = {
        "name": "weighted",
        "over": {"name": "transforms", "parts": ["identity", "gamma"]},
        "objective": {"name": "margin", "kappa": 50},
        "weights": [0.25, 0.75],
    }
    built = specs.build(spec, objectives.OBJECTIVES, "objective")
    assert built.over.parts == (transforms.Identity(), transforms.Gamma())
    assert built.weights == (0.25, 0.75) and built.objective.kappa == 50


def test_groups_are_equal_random_and_of_one_class_if_asked():
    labels = np.random.default_rng(0).integers(0, 3, 50)
    mixed = domains.groups(labels, 4, seed=1)
    assert mixed.shape == (12, 4) and len(np.unique(mixed)) == 48
    assert not np.array_equal(mixed, domains.groups(labels, 4, seed=2))
    np.testing.assert_array_equal(mixed, domains.groups(labels, 4, seed=1))
    pure = domains.groups(labels, 4, by_class=True)
    assert len(pure) == sum(np.bincount(labels) // 4) and len(
        np.unique(pure)
    ) == 4 * len(pure)
    assert np.all(labels[pure] == labels[pure[:, :1]])
    with pytest.raises(specs.UsageError, match="size of a group is 51"):
        domains.groups(labels, 51)
