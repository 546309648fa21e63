"""Sparse-RS against optima by enumeration, and against a search in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import SparseRs
from jaxadv.craft import craft
from jaxadv.specs import UsageError
from jaxadv.threats import L0, Linf, Patch
from tests import nets
from tests.threats.test_patch import best_margins, fits

SHAPE = (6, 6, 3)
MODEL = nets.linear(SHAPE, classes=2, seed=5)
IMAGES = nets.batch(6, SHAPE)[0]
LABELS = nets.predicted(MODEL, IMAGES)
KEY = jax.random.key(0)


def attacked(threat, steps=3000, images=IMAGES, labels=LABELS, model=MODEL, **fields):
    attack = SparseRs(threat, steps=steps, **{"early_stop": False, **fields})
    return jax.jit(craft)(attack, model, KEY, images, labels)


def parts(model, image, label):
    """The gradient [h, w, c] and the value at zero of the margin of two classes."""
    w, b = (np.asarray(model.variables[name], np.float64) for name in "wb")
    return (w[1 - label] - w[label]).reshape(image.shape), b[1 - label] - b[label]


def best_pixels(model, images, labels, count):
    """(clean margin, the largest one of `count` pixels), by all corner colors."""
    found = []
    for image, label in zip(np.float64(images), labels, strict=True):
        grad, offset = parts(model, image, label)
        gains = np.full(image.shape[:2], -np.inf)
        for color in itertools.product((0.0, 1.0), repeat=image.shape[2]):
            gains = np.maximum(gains, (grad * (np.array(color) - image)).sum(-1))
        clean = (grad * image).sum() + offset
        found.append((clean, clean + np.sort(gains.ravel())[-count:].sum()))
    return np.array(found).T


def changed(got, images=IMAGES):
    return np.any(np.asarray(got.image) != images, axis=-1)


def test_pixels_come_near_the_best_of_all():
    got = attacked(L0(4.0, pixels=True))
    clean, want = best_pixels(MODEL, IMAGES, LABELS, 4)
    margin = np.asarray(got.margin)
    assert np.all(margin <= want + 1e-4)
    gap = (want - margin) / (want - clean)  # 0 to 0.047 where it was measured
    assert np.all(gap <= 0.1) and np.mean(gap) <= 0.05, gap
    assert np.all(changed(got).sum((1, 2)) <= 4)


@pytest.mark.parametrize("kind", [lambda eps: L0(eps, pixels=True), Patch])
def test_budgets_share_one_program_and_are_kept(kind):
    traced = 0

    @jax.jit
    def run(eps):
        nonlocal traced
        traced += 1
        attack = SparseRs(kind(eps), steps=60, early_stop=False)
        return craft(attack, MODEL, KEY, IMAGES, LABELS)

    found = [run(eps) for eps in (0.0, 1.0, 3.0, 6.0, 36.0, 99.0)]
    assert traced == 1
    for eps, got in zip((0, 1, 3, 6), found, strict=False):
        assert np.all(np.asarray(got.size) <= eps)
        if kind is Patch:
            assert all(fits(one, eps) for one in changed(got))
        else:
            assert np.all(changed(got).sum((1, 2)) <= eps)
    margins = [float(np.mean(got.margin)) for got in found[:4]]
    assert margins == sorted(margins) and margins[3] > margins[0] + 1
    # All the pixels of an image take new colors where none are left outside.
    for got in found[4:]:
        assert np.all(np.isfinite(got.margin)) and np.mean(got.margin) > margins[0]


def test_channels_are_counted_where_the_ball_counts_channels():
    got = attacked(L0(8.0), steps=50)
    assert np.all(changed(got).sum((1, 2)) <= 2) and np.all(np.asarray(got.size) <= 8)
    assert np.any(changed(got).sum((1, 2)) == 2)


def kept(attack, model, image, label, seeds, queries):
    """[seeds, queries] the largest objective so far after each query."""

    def one(key):
        def step(state, _):
            after = attack.step(state, model, image, label)
            return after, after.own.value

        start = attack.init(key, model, image, label)
        return jax.lax.scan(step, start, None, queries)[1]

    keys = jax.random.split(jax.random.key(7), seeds)
    return np.asarray(jax.jit(jax.vmap(one))(keys))


def test_a_patch_comes_near_the_best_of_all_places():
    """Of twenty starts: a content that fits its place keeps it from moving."""
    clean, want = best_margins(MODEL, IMAGES[:3], LABELS[:3], 2)
    attack = SparseRs(Patch(2.0), steps=1000)
    for number, image in enumerate(IMAGES[:3]):
        found = kept(attack, MODEL, image, LABELS[number], 20, 1000)[:, -1]
        share = (found - clean[number]) / (want[number] - clean[number])
        assert np.all(share <= 1 + 1e-5) and np.max(share) > 0.97, share
        assert np.median(share) > 0.7, share


def alpha(marks, first, query, steps):
    """The published table: `marks` holds (last query, divisor) of 10,000."""
    query = int(query / steps * 10_000)
    return first / next(divisor for last, divisor in marks if query <= last)


PIXELS = [(0, 1), (50, 2), (200, 4), (500, 5), (1000, 6), (2000, 8), (4000, 10),
          (6000, 12), (8000, 15), (10_000, 20)]  # fmt: skip
PATCHES = [(10, 1), (50, 2), (200, 4), (500, 8), (1000, 16), (4000, 32), (8000, 64),
           (10_000, 128)]  # fmt: skip


def pixel_reference(value, image, count, steps, rng):
    """The l0 search, by lists of pixels."""
    height, width, channels = image.shape
    order = rng.permutation(height * width)
    inside, outside = list(order[:count]), list(order[count:])
    point = image.copy()
    for place in inside:
        point[place // width, place % width] = rng.integers(0, 2, channels)
    best = value(point)
    values = [best]
    for query in range(1, steps):
        many = max(int(alpha(PIXELS, 0.3, query, steps) * count), 1)
        leave = rng.choice(count, many, replace=False)
        enter = rng.choice(len(outside), many, replace=False)
        trial = point.copy()
        for k in leave:
            place = divmod(inside[k], width)
            trial[place] = image[place]
        for k in enter:
            trial[divmod(outside[k], width)] = rng.integers(0, 2, channels)
        if value(trial) > best:
            point, best = trial, value(trial)
            for a, b in zip(leave, enter, strict=True):
                inside[a], outside[b] = outside[b], inside[a]
        values.append(best)
    return values


def patch_reference(value, image, side, steps, rng):
    """The search of a patch, which may lie anywhere."""
    height, width, channels = image.shape
    corner = rng.integers(0, (height - side + 1, width - side + 1))
    content = np.repeat(rng.integers(0, 2, (1, side, channels)), side, axis=0)

    def pasted(corner, content):
        point = image.copy()
        point[corner[0] : corner[0] + side, corner[1] : corner[1] + side] = content
        return point

    best = value(pasted(corner, content))
    values = [best]
    for query in range(1, steps):
        size = max(int(alpha(PATCHES, 0.4, query, steps) ** 0.5 * side), 1)
        reach = int(0.75 * (steps - query) / steps * height)
        place, paint = corner, content.copy()
        if query % (5 * (1 + query // 1000)) == 0 and reach > 0:
            place = corner + rng.integers(-reach, reach + 1, 2)
            place = np.clip(place, 0, (height - side, width - side))
        else:
            top, left = rng.integers(0, side - size + 1, 2)
            change = rng.choice((-1, 1), channels)
            paint[top : top + size, left : left + size] += change
            paint = np.clip(paint, 0, 1)
        if (trial := value(pasted(place, paint))) > best:
            corner, content, best = place, paint, trial
        values.append(best)
    return values


@pytest.mark.parametrize("name", ["pixels", "patch"])
def test_the_search_is_as_fast_as_a_reference(name):
    """Medians of what is left to gain, over seeds, after some numbers of queries."""
    shape, steps = (12, 12, 3), 1000
    model = nets.linear(shape, classes=2, seed=2)
    image, label = nets.batch(1, shape, seed=2)[0][0], 0
    pixels = name == "pixels"
    seeds = 10 if pixels else 60  # patches end at more different places
    threat, count = (L0(12.0, pixels=True), 12) if pixels else (Patch(4.0), 4)
    best = best_pixels if pixels else best_margins
    (clean,), (most,) = best(model, image[None], [label], count)
    attack = SparseRs(threat, steps=steps, early_stop=False)
    found = kept(attack, model, image, label, seeds, steps)
    grad, offset = parts(model, image, label)
    reference = pixel_reference if pixels else patch_reference
    image = np.float64(image)
    wanted = [
        reference(lambda x: (grad * x).sum() + offset, image, count, steps, rng)
        for rng in map(np.random.default_rng, range(seeds))
    ]
    marks = [0, 10, 50, 200, 500, 999]
    left, want = (
        np.median((most - np.array(values)) / (most - clean), axis=0)[marks]
        for values in (found, wanted)
    )
    assert np.all(np.diff(left) <= 0) and left[0] > 0.5 and left[-1] < 0.2
    ratio = left / want
    assert np.all((ratio > 0.7) & (ratio < 1.4)), (left, want)
    assert np.all(np.diff(found, axis=1) >= 0)


def test_alpha_falls_on_the_published_schedule():
    for steps in (10_000, 5_000, 300):
        for threat, marks, first in (
            (L0(5.0), PIXELS, 0.3),
            (Patch(5.0), PATCHES, 0.4),
        ):
            attack = SparseRs(threat, steps=steps)
            queries = np.arange(steps)
            got = jax.vmap(attack._share)(jnp.arange(steps))
            want = [alpha(marks, first, int(query), steps) for query in queries]
            np.testing.assert_allclose(got, want, rtol=1e-6)
    whole = SparseRs(L0(5.0), steps=5_000, rescale=False, alpha=0.8)
    np.testing.assert_allclose(whole._share(150), 0.8 / 4)


def test_a_step_changes_as_many_pixels_as_alpha_says():
    attack = SparseRs(L0(20.0, pixels=True), steps=10_000)
    state = attack.init(KEY, MODEL, IMAGES[0], 0)
    for query in (10, 100, 3000):
        now = state.replace(count=jnp.array(query - 1))
        after = attack.step(now, MODEL, IMAGES[0], 0).own
        fell = np.sum(after.candidate.chosen & ~after.tried.chosen)
        rose = np.sum(after.tried.chosen & ~after.candidate.chosen)
        assert fell == rose == max(int(alpha(PIXELS, 0.3, query, 10_000) * 20), 1)
        assert after.tried.chosen.sum() == 20


def test_it_stops_at_the_first_success():
    got = attacked(L0(6.0, pixels=True), steps=200, early_stop=True)
    success, used = np.asarray(got.success), np.asarray(got.steps_used)
    assert np.any(success) and np.all(used[success] < 200)
    assert np.all(used[~success] == 200)


@pytest.mark.parametrize("threat", [L0(3.0), Patch(3.0)])
def test_a_step_is_one_query(threat):
    """What is compiled has as many convolutions as the network itself."""
    attack, model, image = SparseRs(threat), nets.conv(), nets.batch(1)[0][0]
    state = attack.init(KEY, model, image, 0)

    def convolutions(function, *args):
        text = jax.jit(function).lower(*args).compile().as_text()
        return text.count(" convolution(")

    network = convolutions(lambda m, x: m(x, KEY), model, image)
    step = convolutions(lambda s, m, x: attack.step(s, m, x, 0), state, model, image)
    assert step == network > 0 and attack.passes == (1, 0)


def test_other_threats_are_refused():
    with pytest.raises(UsageError, match="searches a L0 or Patch"):
        SparseRs(Linf(0.1))
