"""Analyses of Lagrangian training: closed forms on linear losses, hand-made arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from benchmarks.papers.lagrangian import effective, measures, numbers
from jaxadv import struct
from jaxadv.attacks import Ascent
from jaxadv.evaluation.table import Table
from jaxadv.specs import UsageError
from jaxadv.threats import L2
from tests import nets

# Attacks that another part of the project brings.
GRID = (0.025, 0.2, 1.0)


@struct.dataclass
class Inner:
    """<w, x>: a linear loss, whatever the network and the label."""

    w: jax.Array
    goal = staticmethod(lambda logits, label: jnp.zeros(()))

    def __call__(self, model, image, label, key=None):
        return jnp.sum(self.w * image) + 0 * jnp.sum(model(image, key))


@struct.dataclass
class Concave(Inner):
    """<w, x> - a |x - 1/2|^2 / 2, whose largest value in a ball has a closed form."""

    a: float = 1.0

    def __call__(self, model, image, label, key=None):
        return jnp.sum(self.w * image) - self.a * jnp.sum((image - 0.5) ** 2) / 2


def gray(count=3, shape=nets.SHAPE):
    images = np.full((count, *shape), 0.5, np.float32)
    return images, np.zeros(count, np.int32), np.arange(count)


def linear_loss(seed=0):
    return np.random.default_rng(seed).normal(size=nets.SHAPE).astype(np.float32)


def slopes(objective, images, labels, ids, eps, **fields):
    given = {"steps": 40, "restarts": 2, "batch_size": 4, **fields}
    return effective.effective_lambda(
        nets.linear(), images, labels, ids, eps, objective=objective, **given
    )


def test_effective_lambda_of_a_linear_loss_is_the_norm_of_its_gradient():
    w = linear_loss()
    found = slopes(Inner(jnp.asarray(w)), *gray(), 0.4)
    norm = np.linalg.norm(w)
    np.testing.assert_allclose(found.envelope, norm, rtol=1e-4)
    np.testing.assert_allclose(found.plain, norm, rtol=1e-4)
    np.testing.assert_allclose(found.quotient, norm, rtol=1e-3)
    np.testing.assert_allclose(found.loss, 0.5 * w.sum() + 0.4 * norm, rtol=1e-4)
    assert not found.held.any()


def test_effective_lambda_falls_where_the_loss_bends():
    # Around gray: max over the ball is 0.5 sum(w) + eps |w| - a eps^2 / 2.
    w, a = linear_loss(), 4.0
    for eps in (0.2, 0.8):
        found = slopes(Concave(jnp.asarray(w), a), *gray(), eps)
        exact = np.linalg.norm(w) - a * eps
        np.testing.assert_allclose(found.envelope, exact, rtol=1e-3)
        np.testing.assert_allclose(found.quotient, exact, rtol=2e-3)


def test_effective_lambda_knows_the_box():
    # Some channels are at their bound: those alone do not follow the multiplier.
    w = linear_loss()
    images, labels, ids = gray()
    images[:, :4] = np.where(w[:4] > 0, 0.98, 0.02)
    eps = 1.0
    found = slopes(Inner(jnp.asarray(w)), images, labels, ids, eps, width=0.02)
    exact = multiplier(w, images[0], eps)
    assert found.held.min() > 0.2 and exact < 0.9 * np.linalg.norm(w)
    np.testing.assert_allclose(found.envelope, exact, rtol=2e-3)
    np.testing.assert_allclose(found.quotient, exact, rtol=5e-3)
    assert found.plain.min() > 1.01 * exact


def multiplier(w, image, eps):
    """The slope of max <w, d>, |d| <= eps, 0 <= image + d <= 1, by bisection."""
    low, high = -image.astype(np.float64), 1 - image.astype(np.float64)
    small, large = 1e-9, 1e9
    for _ in range(200):
        middle = np.sqrt(small * large)
        norm = np.linalg.norm(np.clip(w / middle, low, high))
        small, large = (middle, large) if norm > eps else (small, middle)
    d = np.clip(w / middle, low, high)
    free = (d > low) & (d < high)
    return middle * np.linalg.norm(d) if free.any() else 0.0


def test_effective_lambda_keeps_the_largest_loss_of_all_starts():
    images, labels = nets.batch(6)
    model, ids = nets.dense(), np.arange(6)
    given = {"steps": 3, "batch_size": 6}
    one, many = (
        effective.effective_lambda(
            model, images, labels, ids, 0.5, restarts=count, **given
        )
        for count in (1, 4)
    )
    assert (many.loss >= one.loss).all() and (many.loss > one.loss + 1e-7).any()


def test_slopes_of_nothing_are_zero():
    one = np.ones((1, 2, 2, 1))
    for delta, free in ((0 * one, one > 0), (one, one < 0)):
        assert effective.envelopes(one, delta, free)[0] == 0


def test_pgd_and_mpgd_reach_the_corner_of_a_linear_network():
    # Its best corner is eps sign(w). MPGD needs eps max|w| / (a min|w|) steps to it.
    model, (images, _) = nets.linear(classes=2), nets.batch(40, classes=2)
    images = (0.3 + 0.4 * images).astype(np.float32)
    labels, eps = nets.predicted(model, images), 0.02
    w, b = (np.asarray(model.variables[k], np.float64) for k in ("w", "b"))
    margins = (w[1] - w[0]) @ images.reshape(40, -1).T + b[1] - b[0]
    exact = np.mean(np.abs(margins) > eps * np.abs(w[1] - w[0]).sum())
    assert 0.2 < exact < 0.9
    found = measures.mpgd_against_pgd(
        model, images, labels, np.arange(40), eps, GRID, steps=40, batch_size=40
    )
    best = measures.at_best(found, GRID)
    assert best["pgd"][0] == pytest.approx(exact)
    assert exact - 1e-9 <= best["mpgd"][0] <= exact + 0.05
    # By short steps the sign gets further: those of small weights are all alike.
    assert found["pgd"][0] < found["mpgd"][0]
    assert found["pgd"].shape == found["mpgd"].shape == (3,)
    # An image that is wrong before counts as wrong.
    labels = np.where(np.arange(40) < 10, 1 - labels, labels)
    wrong = measures.mpgd_against_pgd(
        model, images, labels, np.arange(40), 0.0, GRID[:1], steps=2, batch_size=40
    )
    assert wrong["pgd"] == wrong["mpgd"] == pytest.approx([0.75])


def test_the_best_step_is_that_of_the_lowest_accuracy():
    rates = {"pgd": np.array([0.5, 0.4, 0.4]), "mpgd": np.array([0.3, 0.6, 0.9])}
    assert measures.at_best(rates, GRID) == {"pgd": (0.4, 0.2), "mpgd": (0.3, 0.025)}


def test_f2b_of_an_even_change_is_one_and_of_the_foreground_alone_infinite():
    rng = np.random.default_rng(0)
    mask = (rng.random((5, 6, 6, 1)) < 0.3).astype(np.uint8)
    even = 0.1 * rng.choice([-1, 1], (5, 6, 6, 3))
    np.testing.assert_allclose(measures.f2b(even, mask), 1)
    assert np.isinf(measures.f2b(even * mask, mask)).all()
    assert (measures.f2b(even * (1 - mask), mask) == 0).all()
    np.testing.assert_allclose(measures.f2b(even * (1 + 2 * mask), mask), 3)
    # A soft mask, by the formula of the paper one pixel at a time.
    soft, delta = rng.random((1, 2, 2)), rng.normal(size=(1, 2, 2, 3))
    front = back = p_sum = q_sum = 0.0
    for i, j in np.ndindex(2, 2):
        p, d = soft[0, i, j], np.abs(delta[0, i, j]).sum()
        front, back = front + d * p, back + d * (1 - p)
        p_sum, q_sum = p_sum + p, q_sum + 1 - p
    expected = (front / p_sum) / (back / q_sum)
    np.testing.assert_allclose(measures.f2b(delta, soft), expected)


def test_f2b_counts_what_it_cannot_average():
    delta, mask = np.ones((5, 2, 2, 3)), np.zeros((5, 2, 2, 1))
    mask[1], mask[2:, 0] = 1, 1
    delta[2, 1], delta[3], delta[4, 0] = 0, 0, 2
    ratios = measures.f2b(delta, mask)
    np.testing.assert_array_equal(ratios, [np.nan, np.nan, np.inf, np.nan, 2])
    summary = measures.f2b_summary(ratios)
    assert summary == {"mean": 2.0, "finite": 1, "infinite": 1, "undefined": 3}
    assert np.isnan(measures.f2b_summary(ratios[:1])["mean"])


def test_norms_stand_beside_the_clean_confidence():
    model, (images, labels) = nets.linear(), nets.batch(6)
    gray_images = (0.3 + 0.4 * images).astype(np.float32)
    attack = Ascent(L2(0.1), steps=4, rel_step_size=0.5, keep="last")
    confidence, found = measures.norms_against_confidence(
        model, gray_images, labels, np.arange(6), {"pgd": attack}, batch_size=4
    )
    logits = np.asarray(jax.vmap(model)(gray_images), np.float64)
    exact = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(confidence, exact[range(6), labels], atol=1e-5)
    # All six are attacked to the edge, those that are wrong before too.
    np.testing.assert_allclose(found["pgd"], 0.1, rtol=1e-3)


def test_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    p, norm = rng.random(30), rng.random(30)
    found = measures.correlations(p, {"a": norm, "rising": p**3, "flat": 0 * p})
    assert found["a"] == pytest.approx(scipy.stats.spearmanr(p, norm)[0])
    assert found["rising"] == pytest.approx(1) and np.isnan(found["flat"])


def table_of(**columns):
    metadata = {"attacks": {"a": {"spec": {}, "eps": 1.0}}, "cascades": {}}
    return Table({name.replace("__", "/"): c for name, c in columns.items()}, metadata)


def test_mean_norms_are_of_the_images_that_were_attacked():
    table = table_of(
        id=np.arange(4), label=np.zeros(4, int),
        clean__margin=np.array([1.0, -1.0, -1.0, -1.0]),
        attack__a__success=np.array([True, True, False, True]),
        attack__a__distance__l2=np.array([0.0, 3.0, 1.0, 2.0], np.float32),
    )  # fmt: skip
    assert measures.mean_norms(table) == {"a": 2.0}
    with pytest.raises(UsageError, match="distances.linf"):
        measures.mean_norms(table, "linf")


def test_printed_numbers_agree_with_each_other():
    """Means follow from the columns, tables 5 and 6 repeat those of tables 1 and 2."""
    for columns, rows, seen in (
        (numbers.COLUMNS_1, numbers.TABLE_1, numbers.SEEN_1),
        (numbers.COLUMNS_2, numbers.TABLE_2, numbers.SEEN_2),
    ):
        for row in rows.values():
            found = dict(zip(columns, row, strict=True))
            attacks = columns[1:-2]
            unseen = np.mean([found[a] for a in attacks if a not in seen])
            assert found["unseen mean"] == pytest.approx(unseen, abs=0.011)
            union = np.mean([found[a] for a in attacks])
            assert found["union mean"] == pytest.approx(union, abs=0.011)
    linf, l2 = (numbers.COLUMNS_1.index(name) for name in ("linf", "l2"))
    for method, (in_l2, in_linf) in numbers.TABLE_5.items():
        assert in_l2[1] == numbers.TABLE_1[method][l2]
        assert in_linf[1] == numbers.TABLE_1[method][linf]
        assert sorted(in_l2, reverse=True) == list(in_l2)
        assert sorted(in_linf, reverse=True) == list(in_linf)
    for data, rows in (("cifar10", numbers.TABLE_1), ("imagenet100", numbers.TABLE_2)):
        for method, (in_linf, in_l2) in numbers.TABLE_6[data].items():
            assert (in_linf[1], in_l2[1]) == (rows[method][linf], rows[method][l2])
        for method, (small, _) in numbers.TABLE_4[data].items():
            assert small[0] == pytest.approx(rows[method][linf], abs=0.16)


def test_accuracy_over_growing_balls_is_that_of_the_margins():
    model, (images, _) = nets.linear(classes=2), nets.batch(40, classes=2)
    images = (0.3 + 0.4 * images).astype(np.float32)
    labels = np.array(nets.predicted(model, images))
    w, b = (np.asarray(model.variables[k], np.float64) for k in ("w", "b"))
    margins = np.abs((w[1] - w[0]) @ images.reshape(40, -1).T + b[1] - b[0])
    budgets = np.array([0.0, 0.1, 0.2, 0.3])
    distances = margins / np.linalg.norm(w[1] - w[0])
    exact = [np.mean(distances > eps) for eps in budgets]
    attack = Ascent(L2(1.0), steps=10, rel_step_size=0.5, early_stop=True)
    found = measures.accuracy_over(
        model, images, labels, np.arange(40), attack, budgets, batch_size=40
    )
    assert 0 < exact[-1] < exact[1] < 1
    np.testing.assert_allclose(found, exact, atol=1 / 40 + 1e-9)
    assert found[0] == 1
