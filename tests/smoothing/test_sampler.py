"""Counts that depend on the key, the image and the draw, and on nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxadv.classifier import Classifier
from jaxadv.smoothing.sampler import Sampler, noisy
from jaxadv.smoothing.smoothed import smoothed
from jaxadv.specs import UsageError

SHAPE, SIGMA = (3, 3, 1), 0.5
IMAGE = np.random.default_rng(0).random(SHAPE, np.float32)
KEY = jax.random.key(7)
WEIGHTS = np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32)


def linear(weights, image, key):
    return image.ravel() @ weights


MODEL = Classifier.from_function(linear, WEIGHTS)


def counted(batch_size, ends, model=MODEL, first=0, example=3):
    sampler = Sampler(model, SIGMA, batch_size)
    found = list(sampler.counts(KEY, IMAGE, example, ends, first))
    assert found[-1][0] == ends[-1]
    return sum(votes for _, votes in found)


def by_hand(draws, example=3):
    """One draw after the other, without a map."""
    votes = np.zeros(2, np.int64)
    for draw in draws:
        key = jax.random.fold_in(jax.random.fold_in(KEY, example), draw)
        logits = MODEL(noisy(key, jnp.asarray(IMAGE), SIGMA))
        votes[int(np.argmax(logits))] += 1
    return votes


def test_votes_are_those_of_one_draw_after_the_other():
    found = counted(4, (10, 45))
    np.testing.assert_array_equal(found[0], by_hand(range(10)))
    np.testing.assert_array_equal(found[1], by_hand(range(10, 45)))
    assert found.dtype == np.int64


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_changes_no_count(batch_size):
    expected = counted(16, (20, 500))
    np.testing.assert_array_equal(counted(batch_size, (20, 500)), expected)


def test_a_count_that_was_interrupted_goes_on():
    whole = counted(4, (20, 300))
    sampler = Sampler(MODEL, SIGMA, 4)
    done, before = next(iter(sampler.counts(KEY, IMAGE, 3, (20, 300))))
    assert done == sampler.block
    rest = counted(5, (20, 300), first=done)
    np.testing.assert_array_equal(before + rest, whole)


def test_another_image_has_other_noise():
    ends = (100, 200, 300, 400, 500)
    other = counted(16, ends, example=4)
    assert np.sum(np.any(counted(16, ends) != other, axis=1)) >= 3


def test_the_share_of_votes_is_that_of_the_closed_form():
    votes = counted(500, (20_000,))[0]
    weights = WEIGHTS[:, 0] - WEIGHTS[:, 1]
    distance = float(IMAGE.ravel() @ weights) / np.linalg.norm(weights)
    p = stats.norm.cdf(distance / SIGMA)
    assert abs(votes[0] / 20_000 - p) < 4 * np.sqrt(p * (1 - p) / 20_000)


def test_logits_that_are_not_numbers_are_refused():
    def broken(weights, image, key):
        return jnp.where(image[0, 0, 0] > 1.0, jnp.nan, image.ravel() @ weights)

    with pytest.raises(UsageError, match="noisy copies of image 3 are not numbers"):
        counted(16, (500,), Classifier.from_function(broken, WEIGHTS))


def test_one_program_serves_all_images_and_samples():
    traced = []

    def watched(weights, image, key):
        traced.append(image)
        return linear(weights, image, key)

    sampler = Sampler(Classifier.from_function(watched, WEIGHTS), SIGMA, 8)
    for example, ends in enumerate([(10, 100), (20, 300)]):
        list(sampler.counts(KEY, IMAGE, example, ends))
    assert len(traced) == 1


def test_the_soft_smoothed_network():
    model = smoothed(MODEL, SIGMA, 4)
    key = jax.random.key(1)
    images = [noisy(k, jnp.asarray(IMAGE), SIGMA) for k in jax.random.split(key, 4)]
    mean = np.mean([jax.nn.softmax(MODEL(image)) for image in images], axis=0)
    np.testing.assert_allclose(jax.nn.softmax(model(IMAGE, key)), mean, rtol=1e-5)
    np.testing.assert_array_equal(model(IMAGE), model(IMAGE))
    assert isinstance(model, Classifier)
    one = smoothed(MODEL, SIGMA, 1)
    np.testing.assert_allclose(one(IMAGE, key), MODEL(noisy(key, IMAGE, SIGMA)))
    with pytest.raises(UsageError, match="sigma is -1"):
        smoothed(MODEL, -1)


def test_the_network_inside_computes_in_float32_where_results_are_judged():
    seen = []

    class Half:
        def __call__(self, variables, image, key):
            return image.ravel()[:2], ()

        def full_precision(self):
            seen.append(self)
            return self

    smoothed(Classifier({}, apply=Half()), 0.1).full_precision()(IMAGE)
    assert seen
