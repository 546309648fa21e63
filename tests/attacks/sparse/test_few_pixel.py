"""Differential evolution, and the few pixels that it finds on linear networks."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import FewPixel
from jaxadv.attacks.sparse.few_pixel import Population, evolve
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.objectives import Margin
from jaxadv.specs import UsageError
from jaxadv.threats import L0, Linf
from tests import nets

MODEL = nets.linear(seed=3)
IMAGES = np.round(255 * nets.batch(6)[0]) / np.float32(255)
LABELS = np.array(nets.predicted(MODEL, IMAGES))


def bowl(genes):
    """Separable, least at 0.3 in each gene."""
    return jnp.sum((genes - 0.3) ** 2, axis=-1)


@functools.cache
def courses():
    """[10 seeds, 31 generations] the least cost, of 40 candidates of 5 genes."""

    def course(seed):
        key = jax.random.key(seed)
        genes = jax.random.uniform(key, (40, 5))
        start = Population(genes, jnp.full(40, jnp.inf))
        start = evolve(key, start, bowl, first=True)

        def generation(now, number):
            after = evolve(jax.random.fold_in(key, number), now, bowl)
            return after, (after.costs[0], jnp.min(after.costs))

        _, (lead, least) = jax.lax.scan(generation, start, jnp.arange(30))
        return jnp.append(start.costs[0], lead), jnp.append(start.costs[0], least)

    return jax.device_get(jax.jit(jax.vmap(course))(jnp.arange(10)))


def test_the_best_candidate_leads_and_never_gets_worse():
    lead, least = courses()
    np.testing.assert_array_equal(lead, least)
    assert np.all(np.diff(lead, axis=1) <= 0)


def test_a_separable_function_is_solved_as_fast_as_by_a_reference():
    """Medians of ten runs in NumPy, by a code of its own with the same settings."""
    lead, _ = courses()
    medians = np.median(lead, axis=0)[[0, 10, 20, 30]]
    ratio = medians / [0.149, 0.0029, 1.2e-4, 1.7e-6]
    assert np.all((ratio > 0.2) & (ratio < 5)), medians
    assert np.all(lead[:, 30] < 1e-4)


def test_partners_are_two_others():
    """A trial is the best and a multiple of a difference of two others."""
    genes = jnp.arange(8.0)[:, None] / 100 + 0.4
    seen = []

    def costs(trials):
        seen.append(trials)
        return jnp.full(len(trials), jnp.inf)

    evolve(jax.random.key(0), Population(genes, jnp.zeros(8)), costs)
    (trials,) = seen
    moved = np.asarray(trials - genes[0])[:, 0]
    assert np.all(np.abs(moved) > 0.4 / 100)  # never a candidate less itself
    assert len(set(np.round(moved, 5))) > 3


def attacked(eps, steps=76, population=100, images=IMAGES, labels=LABELS, **fields):
    fields = {"early_stop": False, "objective": Margin(), **fields}
    attack = FewPixel(
        L0(eps, pixels=True), steps=steps, population=population, **fields
    )
    return jax.jit(craft)(attack, MODEL, jax.random.key(0), images, labels)


def corners(image, label):
    """The largest margin of all changes of one pixel to black or white."""
    best = -np.inf
    w, b = (np.asarray(MODEL.variables[name], np.float64) for name in "wb")
    for row, column in itertools.product(*map(range, image.shape[:2])):
        for color in itertools.product((0.0, 1.0), repeat=image.shape[2]):
            changed = image.astype(np.float64)
            changed[row, column] = color
            logits = w @ changed.ravel() + b
            best = max(best, np.max(np.delete(logits, label)) - logits[label])
    return best


def test_one_pixel_comes_near_the_best_of_all():
    """On a linear network the best color is a corner, which enumeration finds."""
    got = attacked(1.0, population=400, pixels=1)
    wanted = np.array([corners(*pair) for pair in zip(IMAGES, LABELS, strict=True)])
    clean = np.asarray(attacked(0.0, steps=1).margin)
    assert np.all(np.asarray(got.margin) <= wanted + 1e-4)
    # Within a few of 256 levels of a color, in units of what a whole pixel gains.
    assert np.all(wanted - np.asarray(got.margin) <= 0.03 * (wanted - clean))


def test_budgets_share_one_program_and_more_pixels_break_more():
    traced = 0

    @jax.jit
    def run(eps):
        nonlocal traced
        traced += 1
        attack = FewPixel(
            L0(eps, pixels=True), Margin(), steps=20, population=50, early_stop=False
        )
        return craft(attack, MODEL, jax.random.key(0), IMAGES, LABELS)

    found = [run(eps) for eps in (0.0, 1.0, 2.0, 3.0)]
    assert traced == 1
    for eps, got in enumerate(found):
        changed = np.any(np.asarray(got.image) != IMAGES, axis=-1).sum((1, 2))
        assert np.all(changed <= eps)
    margins = [float(np.mean(got.margin)) for got in found]
    assert margins == sorted(margins) and margins[3] > margins[0] + 0.1


def test_what_is_returned_is_a_stored_image():
    images = np.asarray(attacked(3.0, steps=5).image)
    levels = 255 * images
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)


def test_channels_are_counted_where_the_ball_counts_channels():
    images, labels = np.tile(IMAGES, (1, 1, 1, 3))[..., :3], LABELS
    model = Classifier.from_function(lambda v, x, key: MODEL(x[..., :1], key), None)
    attack = FewPixel(L0(5.0), Margin(), steps=4, population=20)
    got = jax.jit(craft)(attack, model, jax.random.key(0), images, labels)
    changed = np.any(np.asarray(got.image) != images, axis=-1).sum((1, 2))
    assert np.all(changed <= 1)


def test_it_stops_at_the_first_broken_generation():
    got = attacked(3.0, early_stop=True)
    success = np.asarray(got.success)
    assert np.any(success) and np.all(np.asarray(got.steps_used)[success] < 76)


def test_passes_are_the_candidates():
    assert FewPixel(L0(1.0, pixels=True)).passes == (401, 0)


def test_chunks_change_nothing():
    a, b = (attacked(2.0, steps=6, chunk=chunk) for chunk in (7, 100))
    np.testing.assert_allclose(a.image, b.image, atol=1e-6)


def test_other_balls_are_refused():
    with pytest.raises(UsageError, match="FewPixel.threat is a Linf"):
        FewPixel(Linf(0.1))
