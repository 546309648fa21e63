"""One perturbation for a group: its projection, its box, and the drivers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import Apgd, Ascent, Fgsm, MinMax
from jaxadv.craft import Crafter, craft, craft_batches
from jaxadv.objectives import CrossEntropy, Margin
from jaxadv.objectives.domains import Images, Weighted
from jaxadv.threats import L0, L1, L2, Linf, Shared
from tests import nets
from tests.oracles import projections as oracle

run = jax.jit(craft)
KEY = jax.random.key(0)
BALLS = {"l0": L0(3.0), "l1": L1(0.6), "l2": L2(0.35), "linf": Linf(0.2)}
SMALL = (2, 4, 1)


@pytest.mark.parametrize("norm", BALLS)
def test_the_projection_is_the_nearest_point_valid_for_every_image(norm):
    rng = np.random.default_rng(1)
    threat = Shared(BALLS[norm])
    project = jax.jit(threat.project)
    for _ in range(8):
        # Some images leave almost no room, each in other entries.
        images = rng.uniform(-0.1, 1.1, size=(3, *SMALL)).clip(0, 1).astype(np.float32)
        delta = 0.6 * rng.normal(size=SMALL).astype(np.float32)
        want = oracle.project_group(delta, norm, float(threat.eps), images)
        got = project(delta, images)
        np.testing.assert_allclose(got, want, atol=2e-4)
        distances = [np.sum((p - delta) ** 2) for p in (np.asarray(got), want)]
        assert distances[0] <= distances[1] + 1e-5
        assert np.all((images + got >= 0) & (images + got <= 1))


def groups(count=6, size=3, shape=nets.SHAPE):
    model = nets.linear(shape)
    images = np.clip(nets.batch(count * size, shape)[0], 0.1, 0.9)
    labels = nets.predicted(model, images)
    return model, images.reshape(count, size, *shape), labels.reshape(count, size)


ATTACKS = {
    "pgd": lambda t: Ascent(t, Weighted(Images()), steps=6, rel_step_size=0.4),
    "apgd": lambda t: Apgd(t, Weighted(Images()), steps=6),
    "fgsm": lambda t: Fgsm(t, Weighted(Images())),
    "min_max": lambda t: MinMax(t, Weighted(Images(), Margin(50.0)), steps=6),
}


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("name", ATTACKS)
def test_every_gradient_attack_gives_one_feasible_delta(name, norm):
    model, images, labels = groups()
    found = run(ATTACKS[name](Shared(BALLS[norm])), model, KEY, images, labels)
    delta = np.asarray(found.image) - images
    assert np.abs(delta - delta[:, :1]).max() < 1e-6 and np.abs(delta).max() > 0.01
    assert np.all((found.image >= 0) & (found.image <= 1))
    assert np.all(found.size <= BALLS[norm].eps * (1 + 1e-6))
    flat = found.image.reshape(-1, *nets.SHAPE)
    wrong = nets.predicted(model, flat).reshape(labels.shape) != labels
    np.testing.assert_array_equal(found.success, wrong.all(1))


def test_a_group_of_one_is_an_image():
    model, images, labels = groups(size=1)
    shared = Ascent(Shared(Linf(0.1)), Weighted(Images()), steps=3, rel_step_size=0.5)
    plain = Ascent(Linf(0.1), CrossEntropy(), steps=3, rel_step_size=0.5)
    a = run(shared, model, KEY, images, labels)
    b = run(plain, model, KEY, images[:, 0], labels[:, 0])
    np.testing.assert_allclose(a.image[:, 0], b.image, atol=1e-6)
    np.testing.assert_array_equal(a.success, b.success)


def test_both_drivers_agree_and_a_group_depends_on_its_id_alone():
    model, images, labels = groups(count=10)
    attack = MinMax(Shared(Linf(0.15)), Weighted(Images(), Margin(50.0)), steps=4)
    crafter = Crafter()

    def host(index):
        return craft_batches(
            attack, model, KEY, images[index], labels[index], ids=index,
            batch_size=1, crafter=crafter,
        )  # fmt: skip

    whole, some = host(np.arange(10)), host(np.array([7, 2, 4]))
    assert whole.image.shape == images.shape
    np.testing.assert_array_equal(whole.image[[7, 2, 4]], some.image)
    compiled = run(attack, model, KEY, images, labels)
    np.testing.assert_allclose(whole.image, compiled.image, atol=1e-4)


def test_rounding_leaves_no_ball():
    """The largest change over the images is within eps, also where eps is tiny."""
    images = nets.batch(5)[0]
    for ball in (L1(1e-4), L2(1e-5), Linf(1e-6)):
        delta = 0.1 * jax.random.normal(KEY, nets.SHAPE)
        threat = Shared(ball)
        params = threat.project(delta, images)
        assert threat.size(params, images) <= float(ball.eps) * (1 + 1e-6)
        moved = threat.apply(params, images) - images
        sizes = [ball.size(params, image) for image in images]
        assert threat.size(params, images) == jnp.max(jnp.stack(sizes))
        assert moved.shape == images.shape
