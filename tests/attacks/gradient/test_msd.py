"""MSD against closed forms on linear networks, and a slow reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.attacks.gradient.msd import Msd
from jaxadv.craft import craft
from jaxadv.objectives import KL, CrossEntropy, Margin
from jaxadv.specs import UsageError
from jaxadv.threats import L1, L2, Linf, Masked, Union
from tests import nets
from tests.oracles.linear import worst_margin

KEY = jax.random.key(0)
BALLS = (Linf(0.1), L2(0.5), L1(2.0, fraction=0.0))
run = jax.jit(craft)


def slope(model, label=0):
    w = np.asarray(model.variables["w"], np.float64)
    return (w[1 - label] - w[label]).reshape(nets.SHAPE)


@pytest.mark.parametrize(
    ("sizes", "norm"),
    [((0.01, 0.01, 0.01), 0), ((0.001, 0.1, 0.01), 1), ((1e-4, 1e-3, 0.1), 2)],
)
def test_the_step_taken_gains_most(sizes, norm):
    """Gains are the step size times the dual norm of the slope."""
    model = nets.linear(classes=2, seed=4)
    image, g = np.full(nets.SHAPE, 0.5, np.float32), slope(model)
    duals = np.abs(g).sum(), np.linalg.norm(g), np.abs(g).max()
    gains = np.multiply(sizes, duals)
    assert np.argmax(gains) == norm
    attack = Msd(Union(BALLS), Margin(), step_sizes=sizes, rel_step_size=None, steps=3)
    state = attack.init(KEY, model, image, 0)
    before = float(Margin()(model, image, 0))
    for i in range(3):
        state = attack.step(state, model, image, 0)
        gained = float(Margin()(model, image + state.params, 0)) - before
        np.testing.assert_allclose(gained, (i + 1) * gains[norm], rtol=1e-4)
    moves = sizes[0] * np.sign(g), sizes[1] * g / duals[1]
    sparse = np.where(np.abs(g) == duals[2], np.sign(g), 0.0)
    want = 3 * np.stack([*moves, sizes[2] * sparse])[norm]
    np.testing.assert_allclose(state.params, want, atol=1e-6)


def test_it_is_never_weaker_than_pgd_in_one_of_the_balls():
    """With steps of equal shares of the balls, on a linear network."""
    model = nets.linear(classes=2, seed=4)
    images, _ = nets.batch(12)
    labels = nets.predicted(model, images)
    w, b = slope(model), np.asarray(model.variables["b"], np.float64)
    weights = np.asarray(model.variables["w"], np.float64).reshape(2, *nets.SHAPE)
    assert w.shape == nets.SHAPE
    for balls in (
        (Linf(0.1), L2(0.3), L1(1.0)),
        (Linf(0.01), L2(0.8), L1(1.0)),
        (Linf(0.001), L2(0.01), L1(2.0)),
    ):
        got = run(
            Msd(Union(balls), Margin(), rel_step_size=0.2, steps=12),
            *(model, KEY, images, labels),
        )
        best = []
        for ball in balls:
            alone = Ascent(
                ball, Margin(), steps=12, rel_step_size=0.2, random_start=False,
                keep="last",
            )  # fmt: skip
            single = run(alone, model, KEY, images, labels)
            assert np.all(got.margin >= single.margin - 1e-4)
            best.append(
                [
                    worst_margin(weights, b, x, y, ball.norm, float(ball.eps))[0]
                    for x, y in zip(images, labels, strict=True)
                ]
            )
        assert np.all(got.margin <= np.max(best, axis=0) + 1e-4)
        assert np.all(got.size <= 1 + 1e-6)


def test_every_candidate_starts_at_one_point_and_the_highest_is_kept():
    """The algorithm written out, ball by ball and step by step."""
    model, (images, labels) = nets.dense(), nets.batch(4)
    sizes = 0.03, 0.2, 0.7
    attack = Msd(Union(BALLS), step_sizes=sizes, rel_step_size=None, steps=12)
    got = run(attack, model, KEY, images, labels)

    @jax.jit
    def loss(delta, image, label):
        return CrossEntropy().score(model, image + delta, label)

    gradient, picked = jax.jit(jax.grad(loss)), set()
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        delta = np.zeros_like(image)
        best, highest = delta, float(loss(delta, image, label))
        for _ in range(12):
            g = gradient(delta, image, label)
            points = [
                np.asarray(
                    ball.project(delta + size * ball.direction(g, delta, image), image)
                )
                for ball, size in zip(BALLS, sizes, strict=True)
            ]
            found = [float(loss(point, image, label)) for point in points]
            picked.add(int(np.argmax(found)))
            delta = points[int(np.argmax(found))]
            if max(found) > highest:
                best, highest = delta, max(found)
        np.testing.assert_allclose(got.image[n] - image, best, atol=2e-5)
    assert len(picked) > 1


def test_the_image_is_returned_where_nothing_gains():
    images, labels = nets.batch(3)
    model = nets.sick("constant")
    got = run(Msd(Union(BALLS), steps=3), model, KEY, images, labels)
    assert np.array_equal(got.image, images)


def test_passes_count_the_candidates():
    assert Msd().passes == (4, 1)
    assert [float(part.eps) for part in Msd().threat.parts] == pytest.approx(
        [0.03, 0.5, 12]
    )


def test_what_cannot_be_searched_is_told():
    with pytest.raises(UsageError, match="Msd.threat is a Linf; .* a Union"):
        Msd(Linf(0.1))
    with pytest.raises(UsageError, match="exactly one of step_sizes and rel_step"):
        Msd(step_sizes=(0.1, 0.1, 0.1))
    with pytest.raises(UsageError, match="2 numbers; the union has 3 balls"):
        Msd(step_sizes=(0.1, 0.1), rel_step_size=None)
    with pytest.raises(UsageError, match="no gradient at the clean image"):
        Msd(objective=KL())
    with pytest.raises(UsageError, match="Union.parts has a Masked"):
        Union((Masked(L2(0.1), L2(0.1)),))
    assert jnp.isfinite(Msd().rel_step_size)
