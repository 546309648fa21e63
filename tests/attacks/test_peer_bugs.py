"""Bugs that other libraries have shipped: ours passes where the broken variant fails.

Every test states a property as `holds(implementation)`, asserts it of ours and denies
it of the variant with the bug.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import struct
from jaxadv.attacks import Ascent, Fgsm
from jaxadv.craft import craft
from jaxadv.evaluation.checks.forward import eight_bit
from jaxadv.evaluation.judging.judge import Judge
from jaxadv.numerics import safe_norm
from jaxadv.objectives import TargetedMargin, cross_entropy, dlr, targeted_dlr
from jaxadv.perceptual import projection
from jaxadv.threats import L2, Linf, LpipsBall
from tests import nets

KEY = jax.random.key(5)
IMAGES, _ = nets.batch(60)
MODEL = nets.linear(seed=3)
LABELS = nets.predicted(MODEL, IMAGES)
run = jax.jit(craft)


def test_restarts_are_merged_image_by_image():
    """Keeping the last restart, or the best one of a whole batch, loses successes."""
    model = nets.conv(seed=3)
    labels = nets.predicted(model, IMAGES)

    def attacked(restarts, key):
        attack = Ascent(
            Linf(0.06), steps=1, rel_step_size=0.2, restarts=restarts, early_stop=True
        )
        return np.asarray(run(attack, model, key, IMAGES, labels).success)

    def holds(successes):
        rows = [successes(n) for n in range(1, 6)]
        pairs = zip(rows, rows[1:], strict=False)
        return all(np.all(after >= before) for before, after in pairs)

    singles = [attacked(1, jax.random.fold_in(KEY, n)) for n in range(6)]
    singles.sort(key=np.sum)

    def last(n):
        return singles[-n]

    def best_of_the_batch(n):
        return max(singles[:n], key=np.sum)

    assert holds(lambda n: attacked(n, KEY))
    assert not holds(last)
    assert not holds(best_of_the_batch)


def test_bisection_ends_on_a_feasible_point():
    """The last midpoint is infeasible half of the time."""
    points = np.random.default_rng(0).uniform(0, 1, (50, 4, 4, 1)).astype(np.float32)
    center = np.full((4, 4, 1), 0.5, np.float32)

    def distance(x):
        return safe_norm(x - center, "l2")

    def midpoint(distance, center, point, bound, steps):
        low, high = 0.0, 1.0
        for _ in range(steps):
            middle = (low + high) / 2
            here = center + middle * (point - center)
            inside = distance(here) <= bound
            low, high = jnp.where(inside, middle, low), jnp.where(inside, high, middle)
        return here

    def holds(bisection):
        found = [bisection(distance, center, point, 0.4, 8) for point in points]
        return all(distance(x) <= 0.4 for x in found)

    assert holds(projection.bisection)
    assert not holds(midpoint)


def test_one_image_s_projection_does_not_depend_on_its_mates():
    """The variant bisects all images where Newton has left one of them outside."""
    images, model = IMAGES[:2], nets.conv(seed=3)
    threat = LpipsBall(0.1, model, newton_steps=1)
    noise = 0.3 * jax.random.normal(KEY, images.shape)
    deltas = jnp.clip(images + noise, 0, 1) - images
    near = 1.02 * threat.eps / threat.size(deltas[0], images[0])
    deltas = deltas.at[0].multiply(near)

    def newton(delta, image):
        def distance(x):
            return threat.distance(image, x)

        point = threat.apply(delta, image)
        return projection.newton(distance, point, threat.eps, 1, 0.01) - image

    def batchwise(deltas, images):
        moved = jax.vmap(newton)(deltas, images)
        outside = jax.vmap(threat.size)(moved, images) > threat.eps
        bisecting = threat.replace(projection="bisection")
        bisected = jax.vmap(bisecting.project)(deltas, images)
        return jnp.where(jnp.any(outside), bisected, moved)

    def holds(project):
        together = project(deltas, images)[0]
        return np.allclose(together, project(deltas[:1], images[:1])[0], atol=1e-5)

    assert holds(jax.vmap(threat.project))
    assert not holds(batchwise)


def test_tiny_gradients_are_normalized_all_the_same():
    """A floor under the norm switches an l2 attack off where a network is sure."""

    def holds(direction):
        grad = jax.random.normal(KEY, (4, 4, 1))
        moves = [direction(scale * grad) for scale in (1, 1e-9, 1e-20)]
        return all(np.isclose(safe_norm(d, "l2"), 1, 1e-4) for d in moves)

    zero = jnp.zeros((4, 4, 1))
    assert holds(lambda g: L2(1.0).direction(g, zero, zero))
    assert not holds(lambda g: g / jnp.maximum(safe_norm(g, "l2"), 1e-8))
    assert not holds(lambda g: g / jnp.sqrt(jnp.sum(g**2) + 1e-12))


def test_the_step_of_the_fast_gradient_method_is_eps_long():
    def holds(sizes):
        return all(np.isclose(sizes(eps), eps, rtol=1e-3) for eps in (0.1, 0.3))

    gray = np.full((1, *nets.SHAPE), 0.5, np.float32)
    label = nets.predicted(MODEL, gray)

    def ours(eps):
        return run(Fgsm(L2(eps)), MODEL, KEY, gray, label).size[0]

    def without_eps(eps):
        grad = jax.grad(lambda x: cross_entropy(MODEL(x), label[0]))(gray[0])
        return safe_norm(L2(eps).direction(grad, 0 * grad, gray[0]), "l2")

    assert holds(ours)
    assert not holds(without_eps)


def test_arguments_of_the_cross_entropy_are_not_exchanged():
    """Exchanged, the label's one-hot code is taken for logits."""
    logits = jax.random.normal(KEY, (40, 4))
    labels = np.arange(40) % 4

    def holds(loss):
        grads = jax.vmap(jax.grad(loss))(logits, labels)
        own = np.take_along_axis(np.asarray(grads), labels[:, None], 1)[:, 0]
        want = jax.nn.softmax(logits) - jax.nn.one_hot(labels, 4)
        return np.all(own < 0) and np.allclose(grads, want, atol=1e-5)

    def exchanged(logits, label):
        soft = jax.nn.log_softmax(jax.nn.one_hot(label, 4))
        return -jnp.sum(jax.nn.softmax(logits) * soft)

    assert holds(cross_entropy)
    assert not holds(exchanged)


def test_a_target_is_reached_and_not_left():
    """The variant gives the target where the label belongs, and runs away from it."""

    def holds(objective):
        attack = Ascent(Linf(0.5), objective, steps=20, rel_step_size=0.1, keep="last")
        found = run(attack, MODEL, KEY, IMAGES, LABELS)
        return np.mean(nets.predicted(MODEL, found.image) == 2) > 0.95

    @struct.dataclass
    class Mixed(TargetedMargin):
        def __call__(self, model, image, label, key=None):
            return -TargetedMargin.__call__(self, model, image, label, key)

    assert holds(TargetedMargin(2))
    assert not holds(Mixed(2))


def test_the_ratio_of_three_logits_has_a_gradient():
    """Scaled by the extremes it is constant where the target is last."""
    logits = jnp.array([2.0, 0.5, -1.0])

    def holds(loss):
        grad = jax.grad(lambda z: loss(z, 0, 2))(logits)
        return grad[2] > 1e-3 and grad[0] < -1e-3

    def of_the_extremes(logits, label, target):
        order = jnp.sort(logits)
        return (logits[target] - logits[label]) / (order[-1] - order[-3] + 1e-12)

    assert holds(targeted_dlr)
    assert not holds(of_the_extremes)
    assert np.all(np.isfinite(jax.grad(dlr)(logits, 0)))


def test_a_perturbation_of_exactly_eps_is_inside():
    """x + eps - x is not eps in float32."""
    eps = 8 / 255
    moved = np.clip(IMAGES + np.float32(eps), 0, 1)
    judge = Judge(MODEL, 32, 1)
    attack = Ascent(Linf(eps), steps=0, rel_step_size=1.0)
    found = dataclasses.replace(run(attack, MODEL, KEY, IMAGES, LABELS), image=moved)
    size, slack = judge.size(Linf(eps), IMAGES, found, LABELS, np.arange(len(IMAGES)))

    def holds(inside):
        return np.all(inside(size))

    assert holds(lambda size: size <= eps * (1 + slack))
    assert not holds(lambda size: size <= eps)


def test_images_of_8_bits_are_rounded_and_not_cut_off():
    """Cutting moves an image by up to a whole level, toward black."""
    images = np.asarray(jax.random.uniform(KEY, (16, 16, 1)))

    def holds(stored):
        return np.abs(stored(images) - images).max() <= 0.5 / 255 + 1e-6

    assert holds(eight_bit)
    assert not holds(lambda x: (x * 255).astype(np.uint8) / np.float32(255))


def test_one_draw_does_not_decide_about_a_random_network():
    """Filtering by single draws counts every unlucky one as a success."""
    small = jax.tree.map(lambda x: 0.1 * x, MODEL.variables)
    noisy = nets.noisy().replace(variables=small)
    margins = np.asarray(jax.vmap(lambda x, y: 0.1 * MODEL(x)[y])(IMAGES, LABELS))
    sure = np.argsort(margins)[-30:]

    def holds(draws):
        judge = Judge(noisy, 2, draws)
        found = judge.verdict(KEY, IMAGES[sure], LABELS[sure], sure)
        return np.all(found["prediction"] == LABELS[sure])

    assert holds(256)
    assert not holds(1)
