"""Certificates: true, the same however they are counted, and not lost."""

import jax
import numpy as np
import pytest
from scipy import stats

from jaxadv.classifier import Classifier
from jaxadv.craft.journal import Journal
from jaxadv.smoothing import certify, predict, statistics
from jaxadv.specs import UsageError

SHAPE, SIGMA = (4, 4, 1), 0.5
IMAGES = np.random.default_rng(0).random((12, *SHAPE), np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=16).astype(np.float32)
KEY = jax.random.key(7)
PLAN = {"sigma": SIGMA, "selection": 50, "draws": 600, "batch_size": 16}


def signs(weights, image, key):
    """Two classes, on either side of a plane through the gray image."""
    score = (image.ravel() - 0.5) @ weights
    return np.array([1.0, -1.0], np.float32) * score


MODEL = Classifier.from_function(signs, WEIGHTS)
SCORES = (IMAGES.reshape(12, -1) - 0.5) @ WEIGHTS
DISTANCES = np.abs(SCORES) / np.linalg.norm(WEIGHTS)


def same(a, b):
    for name in a.keys() - {"seconds"}:
        np.testing.assert_array_equal(a[name], b[name], name)


@pytest.fixture(scope="module")
def found():
    return certify(MODEL, KEY, IMAGES, **PLAN)


def test_no_certificate_is_larger_than_the_distance_to_the_boundary(found):
    certified = found["prediction"] >= 0
    assert np.sum(certified) >= 4
    np.testing.assert_array_equal(
        found["prediction"][certified], (SCORES < 0)[certified]
    )
    assert np.all(found["radius"] <= DISTANCES)
    assert np.all(found["radius"][certified] > 0.2 * DISTANCES[certified] - 0.05)
    np.testing.assert_array_equal(found["radius"][~certified], 0)


@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_the_bound_is_that_of_the_true_probability_at_every_sigma(sigma):
    found = certify(MODEL, KEY, IMAGES, **(PLAN | {"sigma": sigma, "draws": 3000}))
    p = stats.norm.cdf(np.where(found["selected"], -1, 1) * SCORES
                       / np.linalg.norm(WEIGHTS) / sigma)  # fmt: skip
    np.testing.assert_allclose(found["votes"] / 3000, p, atol=0.04)
    assert np.all(found["lower"] <= p)


@pytest.mark.parametrize("count", [1, 2])
def test_neither_devices_nor_mates_nor_batches_change_a_certificate(
    found, count, monkeypatch
):
    devices = jax.local_devices()[:count]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    monkeypatch.setattr(jax, "local_device_count", lambda: count)
    order = np.array([5, 0, 11])
    again = certify(
        MODEL, KEY, IMAGES[order], ids=order, **(PLAN | {"batch_size": 50 * count})
    )
    same(again, {name: column[order] for name, column in found.items()})


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [100, 800, 3000])
def test_a_killed_run_goes_on_inside_an_image(found, tmp_path, after, monkeypatch):
    monkeypatch.setattr("jaxadv.smoothing.certificates._EVERY", 0.0)
    told = []

    def progress(draws):
        told.append(draws)
        if sum(told) > after:
            raise Killed

    with pytest.raises(Killed):
        certify(
            MODEL, KEY, IMAGES, journal=Journal(tmp_path, 0.0), progress=progress,
            **PLAN,
        )  # fmt: skip
    told, drawn = [], []
    again = certify(
        MODEL, KEY, IMAGES, journal=Journal(tmp_path, 0.0), progress=drawn.append,
        **PLAN,
    )  # fmt: skip
    same(again, found)
    assert sum(drawn) == 12 * 650
    assert np.any(again["seconds"] > 0)
    # What was counted is not counted again: the first tellings are of the journal.
    assert after < 200 or drawn[0] == 650


def test_what_is_finished_is_read(found, tmp_path, monkeypatch):
    certify(MODEL, KEY, IMAGES, journal=Journal(tmp_path), **PLAN)
    monkeypatch.setattr("jaxadv.smoothing.sampler.Sampler.counts", None)
    same(certify(MODEL, KEY, IMAGES, journal=Journal(tmp_path), **PLAN), found)


def test_to_stop_early_changes_no_answer_and_draws_less(found):
    short = certify(MODEL, KEY, IMAGES, early=True, **(PLAN | {"batch_size": 1}))
    for name in ("prediction", "radius", "selected"):
        np.testing.assert_array_equal(short[name], found[name], name)
    stopped = short["draws"] < 600
    assert np.any(stopped) and np.all(short["prediction"][stopped] == -1)
    assert np.all(short["lower"][stopped] <= 0.5)
    most = statistics.clopper_pearson(short["votes"] + 600 - short["draws"], 600, 0.001)
    assert np.all(most[stopped] <= 0.5)


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("draws", 0, "draws is 0"),
        ("selection", 0, "selection is 0"),
        ("sigma", 0.0, "sigma is 0.0; it must be above 0"),
        ("alpha", 1.5, "alpha is 1.5"),
    ],
)
def test_bad_arguments_are_refused(field, value, words):
    with pytest.raises(UsageError, match=words):
        certify(MODEL, KEY, IMAGES[:1], **(PLAN | {field: value}))


def test_answers_are_those_of_the_two_sided_test_and_one_draw_is_none():
    plan = {"sigma": SIGMA, "draws": 200, "batch_size": 16}
    found = predict(MODEL, KEY, IMAGES, **plan)
    p = stats.norm.cdf(SCORES / np.linalg.norm(WEIGHTS) / SIGMA)
    clear = np.abs(p - 0.5) > 0.25
    np.testing.assert_array_equal(found[clear], (p < 0.5)[clear])
    assert np.any(found == -1) and np.all(np.abs(p - 0.5)[found == -1] < 0.25)
    one = predict(MODEL, KEY, IMAGES, **(plan | {"draws": 1}))
    assert set(one) <= {0, 1}
    with pytest.raises(UsageError, match="draws is 0"):
        predict(MODEL, KEY, IMAGES, **(plan | {"draws": 0}))
