"""Bounds and radii beside values that were worked out apart, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from jaxadv.smoothing import statistics
from jaxadv.smoothing.statistics import ABSTAIN
from jaxadv.specs import UsageError

ALPHA = 0.001
# Votes, draws, lower bound and radius in units of sigma at alpha = 0.001.
KNOWN = [
    (100, 100, 0.933254, 1.50048),
    (99, 100, 0.911373, 1.34926),
    (90, 100, 0.775330, 0.75652),
    (60, 100, 0.440984, 0.0),
    (1000, 1000, 0.993116, 2.46326),
    (990, 1000, 0.976036, 1.97801),
    (600, 1000, 0.551075, 0.12838),
    (100_000, 100_000, 0.999931, 3.81146),
    (99_000, 100_000, 0.988989, 2.29000),
    (51_000, 100_000, 0.505109, 0.01281),
    (50_500, 100_000, 0.500109, 0.00027),
]


@pytest.mark.parametrize("votes, draws, lower, radius", KNOWN)
def test_bounds_and_radii_are_the_known_ones(votes, draws, lower, radius):
    found = statistics.clopper_pearson(votes, draws, ALPHA)
    assert found.dtype == np.float64
    assert float(found) == pytest.approx(lower, abs=1e-6)
    assert float(found) == pytest.approx(
        stats.beta.ppf(ALPHA, votes, draws - votes + 1), abs=1e-12
    )
    assert float(statistics.certified_radius(found, 1.0)) == pytest.approx(
        radius, abs=1e-5
    )


@pytest.mark.parametrize("draws, least", [(100, 66), (1000, 550), (100_000, 50_490)])
def test_the_least_votes_that_are_certified(draws, least):
    lower = statistics.clopper_pearson([least - 1, least], draws, ALPHA)
    assert lower[0] <= 0.5 < lower[1]


def test_all_votes_and_none():
    assert statistics.clopper_pearson(0, 50, ALPHA) == 0
    assert statistics.clopper_pearson(50, 50, ALPHA) == pytest.approx(ALPHA ** (1 / 50))
    np.testing.assert_array_equal(statistics.certified_radius([0.0, 0.5], 0.25), 0)
    assert np.isinf(statistics.certified_radius(1.0, 0.25))


@pytest.mark.parametrize("sigma", [0.12, 0.25, 1.0])
def test_the_radius_of_a_linear_network_is_its_distance_at_every_sigma(sigma):
    f, norm = 0.3, 2.0  # f(x) and the norm of its weights
    p = stats.norm.cdf(f / (sigma * norm))
    assert float(statistics.certified_radius(p, sigma)) == pytest.approx(0.15)


@pytest.mark.parametrize(
    "counts, answer, p",
    [
        ((14, 2), ABSTAIN, 0.00418),
        ((11, 0), 0, 0.000977),
        ((10, 0), ABSTAIN, 0.00195),
        ((60, 25), 0, 0.000187),
        ((4, 21), 1, 0.000911),
        ((33, 67), 1, 0.000874),
        ((447, 553), 1, 0.000890),
        ((0, 0), ABSTAIN, 1.0),
        ((5, 5), ABSTAIN, 1.0),
    ],
)
def test_votes_of_two_classes(counts, answer, p):
    assert statistics.predict(np.array([counts]), ALPHA).tolist() == [answer]
    assert float(statistics.two_sided(counts[0], sum(counts))) == pytest.approx(
        p, rel=5e-3
    )


def test_the_test_is_that_of_scipy_for_every_count():
    for draws in (1, 2, 7, 30):
        found = statistics.two_sided(np.arange(draws + 1), draws)
        exact = [stats.binomtest(k, draws).pvalue for k in range(draws + 1)]
        np.testing.assert_allclose(found, exact, rtol=1e-10)


def test_third_classes_do_not_count():
    counts = np.array([[11, 0, 0], [0, 11, 0], [8, 500, 9]])
    assert statistics.predict(counts, ALPHA).tolist() == [0, 1, 1]
    one_class = np.array([[11, 0]])
    assert statistics.predict(one_class, ALPHA).tolist() == [0]


def test_a_certificate_asks_the_second_sample_about_the_class_of_the_first():
    selection = np.array([[10, 90], [90, 10], [50, 50]])
    counts = np.array([[990, 10], [990, 10], [400, 600]])
    found = statistics.certify(selection, counts, 1000, ALPHA, 0.5)
    assert found["selected"].tolist() == [1, 0, 0]
    assert found["votes"].tolist() == [10, 990, 400]
    assert found["prediction"].tolist() == [ABSTAIN, 0, ABSTAIN]
    np.testing.assert_allclose(found["radius"], [0, 0.5 * 1.97801, 0], atol=1e-5)


@pytest.mark.parametrize("p", [0.501, 0.6, 0.9, 0.99])
def test_the_bound_is_above_the_truth_as_seldom_as_alpha_says(p):
    rng, trials, alpha = np.random.default_rng(0), 10_000, 0.01
    votes = rng.binomial(1000, p, trials)
    wrong = np.sum(statistics.clopper_pearson(votes, 1000, alpha) > p)
    # At most alpha; the count itself is seldom beyond its own 99.9 % quantile.
    assert wrong <= stats.binom.ppf(0.999, trials, alpha)
    assert wrong > 0  # nor is the bound so low that it says nothing


def test_an_early_abstention_is_the_one_of_all_draws():
    draws, alpha = 1000, ALPHA
    # 549 of 1000 are not certified, 550 are.
    assert statistics.abstains_for_sure(149, 400, draws, alpha)
    assert not statistics.abstains_for_sure(150, 400, draws, alpha)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_bad_arguments_are_refused(alpha):
    with pytest.raises(UsageError, match="alpha"):
        statistics.clopper_pearson(1, 2, alpha)
    with pytest.raises(UsageError, match="successes"):
        statistics.clopper_pearson(3, 2, ALPHA)
