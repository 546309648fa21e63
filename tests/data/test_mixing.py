"""Mixed images and the probabilities of their classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.data.mixing import MIXINGS, CutMix, MixUp, soften
from jaxadv.specs import UsageError

SHAPE, CLASSES = (10, 8, 3), 4
KEY = jax.random.key(0)


def keys(n):
    return jax.random.split(jax.random.key(5), n)


def test_cutmix_pastes_one_rectangle():
    """The pixels of the second image are a rectangle, and the share is the rest."""
    one, other = jnp.zeros(SHAPE), jnp.ones(SHAPE)
    mixed, kept = jax.jit(jax.vmap(CutMix(), (0, None, None)))(keys(200), one, other)
    for image, share in zip(np.asarray(mixed), np.asarray(kept), strict=True):
        inside = image[..., 0] == 1
        assert np.all((image == 0) | (image == 1))
        assert np.all(inside == np.outer(inside.any(axis=1), inside.any(axis=0)))
        for side in (inside.any(axis=1), inside.any(axis=0)):
            places = np.flatnonzero(side)
            assert len(places) == 0 or np.all(np.diff(places) == 1)
        assert share == pytest.approx(1 - inside.mean(), abs=1e-6)
    np.testing.assert_allclose(np.mean(kept), simulated_share(), atol=0.04)


def simulated_share(n=100_000):
    """The mean share of the first image, in NumPy, of sides that are cut off."""
    rng = np.random.default_rng(0)
    half = np.sqrt(1 - rng.random(n))[:, None] / 2
    center = rng.random((n, 2))
    sides = np.minimum(center + half, 1) - np.maximum(center - half, 0)
    return 1 - np.mean(sides.prod(axis=1))


def test_the_sides_are_in_the_ratio_of_the_image():
    """Away from the border, of area 1 - share: all of alpha's mass is at one half."""
    one, other = jnp.zeros((100, 60, 1)), jnp.ones((100, 60, 1))
    mixing = CutMix(alpha=1e6)
    mixed, _ = jax.jit(jax.vmap(mixing, (0, None, None)))(keys(60), one, other)
    inside = np.asarray(mixed)[..., 0] == 1
    whole = [
        (i.any(axis=1).sum(), i.any(axis=0).sum())
        for i in inside
        if not (i[0].any() or i[-1].any() or i[:, 0].any() or i[:, -1].any())
    ]
    assert whole
    for height, width in whole:
        assert abs(height - 100 * 0.5**0.5) <= 1.5 and abs(width - 60 * 0.5**0.5) <= 1.5


def test_mixup_is_a_weighed_mean():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, *SHAPE), np.float32)
    mixed, kept = jax.vmap(MixUp(alpha=1.0), (0, None, None))(keys(100), one, other)
    kept = np.asarray(kept)[:, None, None, None]
    np.testing.assert_allclose(mixed, kept * one + (1 - kept) * other, atol=1e-6)
    assert 0.4 < kept.mean() < 0.6


@pytest.mark.parametrize("name", MIXINGS)
def test_probability(name):
    one, other = jnp.zeros(SHAPE), jnp.ones(SHAPE)
    mix = MIXINGS[name](probability=0.0)
    mixed, kept = jax.vmap(mix, (0, None, None))(keys(9), one, other)
    assert np.all(mixed == 0) and np.all(kept == 1)
    mix = MIXINGS[name](probability=0.5)
    _, kept = jax.vmap(mix, (0, None, None))(keys(400), one, other)
    assert 0.4 < np.mean(np.asarray(kept) < 1) < 0.6
    with pytest.raises(UsageError):
        MIXINGS[name](probability=1.5)


def batch(ids=(3, 8, 1, 5)):
    rng = np.random.default_rng(0)
    images = rng.random((10, *SHAPE), np.float32)
    ids = np.array(ids, np.int32)
    return {"image": images[ids], "label": ids % CLASSES, "id": ids}


def test_smoothed_labels():
    """0.1 over four classes: 0.925 and 0.025."""
    given = batch()
    found = soften(None, 0.1, CLASSES, KEY, given)
    expected = np.full((4, CLASSES), 0.025)
    expected[np.arange(4), given["label"]] = 0.925
    np.testing.assert_allclose(found["target"], expected, atol=1e-6)
    np.testing.assert_array_equal(found["image"], given["image"])
    np.testing.assert_array_equal(found["label"], given["label"])


def test_targets_are_the_shares_of_both_images():
    given = batch()
    found = soften(CutMix(), 0.0, CLASSES, KEY, given)
    before = np.roll(given["image"], 1, axis=0)
    for i in range(4):
        own = np.all(found["image"][i] == given["image"][i], axis=-1)
        theirs = np.all(found["image"][i] == before[i], axis=-1)
        assert np.all(own ^ theirs)
        target = np.zeros(CLASSES)
        target[given["label"][i]] += own.mean()
        target[given["label"][i - 1]] += theirs.mean()
        np.testing.assert_allclose(found["target"][i], target, atol=1e-6)
        assert found["target"][i, found["label"][i]] >= 0.5 - 1e-6


def test_draws_belong_to_the_example():
    """Which part is cut out does not depend on where the image stands in its batch."""

    def inside(ids):
        given = batch(ids)
        found = soften(CutMix(), 0.0, CLASSES, KEY, given)
        same = np.all(found["image"] == given["image"], axis=-1)
        return dict(zip(ids, np.asarray(same), strict=True))

    first, second = inside((3, 8, 1, 5)), inside((5, 3, 9, 1))
    for key in (3, 1, 5):
        np.testing.assert_array_equal(first[key], second[key])
