"""The perceptual attacks: always inside the ball, and worth their cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import FastLpa, Lpa, Ppgd, UniformNoise
from jaxadv.classifier import Classifier
from jaxadv.craft import Crafter, craft, craft_batches
from jaxadv.models import MODELS
from jaxadv.objectives import Margin
from jaxadv.perceptual import Lpips
from jaxadv.protocols import bind
from jaxadv.specs import UsageError
from jaxadv.threats import LpipsBall
from tests import nets

SHAPE = (8, 8, 3)
COUNT = 250
RNG = np.random.default_rng(0)
ATTACKS = {
    "fast_lpa": lambda threat: FastLpa(threat, steps=3, project=True),
    "lpa": lambda threat: Lpa(threat, rounds=2, round_steps=2),
    "ppgd": lambda threat: Ppgd(threat, steps=3),
}
run = jax.jit(craft)


def distances(model, images, others):
    """Distances in a program of their own."""
    return np.asarray(jax.jit(jax.vmap(Lpips(model)))(images, others))


def odd_images(seed):
    """Uniform ones, saturated ones, constant ones, and almost black ones."""
    rng = np.random.default_rng(seed)
    images, labels = nets.batch(COUNT, SHAPE, seed=seed)
    images[:50] = rng.integers(0, 2, images[:50].shape)
    images[50:80] = rng.uniform(size=(30, 1, 1, 1))
    images[80:100] *= 1e-4
    images[100:110], images[110:120] = 0, 1
    return images, labels


def networks():
    """Untrained, dead (no gradient at all), huge and of tiny activations."""
    model = nets.conv(SHAPE)
    kernel = model.variables["params"]
    for scale in (1.0, 0.0, 1e4, 1e-4):
        params = jax.tree.map(lambda x, s=scale: x * s, kernel)
        yield model.replace(variables={**model.variables, "params": params})


@pytest.mark.parametrize("name", ATTACKS)
def test_ten_thousand_cases_are_feasible(name):
    """4 networks, 10 bounds, 250 images for each attack: 30,000 in all."""
    seen = 0
    bounds = np.geomspace(1e-4, 2.0, 10)
    for seed, model in enumerate(networks()):
        images, labels = odd_images(seed)
        for eps in bounds:
            attack = ATTACKS[name](LpipsBall(float(eps)))
            got = run(attack, model, jax.random.key(seed), images, labels)
            assert np.all(np.isfinite(got.image))
            assert np.all((got.image >= 0) & (got.image <= 1))
            again = distances(model, images, got.image)
            assert np.all(again <= eps * (1 + 1e-5)), (eps, again.max())
            assert np.all(got.size <= eps * (1 + 1e-5))
            seen += len(images)
    assert seen == 10_000


def test_starting_at_the_image_itself():
    """Without noise the distance is zero there, and so is its gradient."""
    model = nets.conv(SHAPE)
    images, _ = nets.batch(40, SHAPE)
    labels = nets.predicted(model, images)
    for name, make in ATTACKS.items():
        attack = make(LpipsBall(0.3, start=0.0))
        got = run(attack, model, jax.random.key(0), images, labels)
        assert np.all(got.size <= 0.3) and np.all(np.isfinite(got.image)), name
        assert np.mean(got.success) > 0, name


def test_an_external_network_bounds_a_network_without_taps():
    external = nets.conv(SHAPE, seed=5)
    plain = nets.linear(SHAPE)
    victim = Classifier.from_function(plain.apply.function, plain.variables)
    images, _ = nets.batch(40, SHAPE)
    labels = nets.predicted(victim, images)
    attack = Ppgd(LpipsBall(0.2, external), steps=5)
    got = run(attack, victim, jax.random.key(0), images, labels)
    again = distances(external, images, got.image)
    assert np.allclose(again, got.size, atol=1e-5) and np.all(again <= 0.2)
    assert np.mean(got.success) > 0.5
    with pytest.raises(UsageError, match="no feature taps"):
        run(Ppgd(LpipsBall(0.2), steps=1), victim, jax.random.key(0), images, labels)


def test_a_step_has_unit_length_in_the_distance():
    model = nets.conv(SHAPE)
    image = jnp.asarray(nets.batch(1, SHAPE)[0][0]) * 0.6 + 0.2
    threat = bind(LpipsBall(0.5), model, image, 0, None)
    grad = jax.grad(lambda x: Margin()(model, x, 0))(image)
    for derivative in ("exact", "secant"):
        own = threat.replace(derivative=derivative)
        direction = own.direction(grad, jnp.zeros(SHAPE), image)
        near = 1e-3 * direction / jnp.linalg.norm(direction)
        moved = float(threat.distance(image, image + near))
        length = 1e-3 / float(jnp.linalg.norm(direction))
        assert np.isclose(moved, length, rtol=0.05)


def test_flat_networks_move_no_further_than_the_box():
    """A network whose activations never change lets an attack go anywhere."""
    model = list(networks())[1]
    image = jnp.asarray(nets.batch(1, SHAPE)[0][0])
    threat = bind(LpipsBall(0.5), model, image, 0, None)
    direction = threat.direction(jnp.ones(SHAPE), jnp.zeros(SHAPE), image)
    assert np.all(np.isfinite(direction))
    assert 0.5 * jnp.linalg.norm(direction) <= np.sqrt(image.size) * (1 + 1e-4)


def test_both_projections_agree_in_what_they_allow():
    model = nets.conv(SHAPE)
    images, labels = nets.batch(30, SHAPE)
    for kind in ("newton", "bisection"):
        attack = Ppgd(LpipsBall(0.1, projection=kind), steps=5, keep="last")
        got = run(attack, model, jax.random.key(0), images, labels)
        assert 0.03 < np.median(got.size) <= 0.1


def test_fast_lpa_may_leave_the_ball_unless_projected():
    model = nets.conv(SHAPE)
    images, labels = nets.batch(30, SHAPE)
    free, inside = (
        run(
            FastLpa(LpipsBall(0.1), steps=4, project=project),
            model,
            jax.random.key(0),
            images,
            labels,
        )
        for project in (False, True)
    )
    assert np.any(free.size > 0.1) and np.all(inside.size <= 0.1)


def test_lpa_freezes_each_image_at_its_first_success():
    """Image by image: neighbors in the batch do not matter, and steps are saved."""
    model = nets.conv(SHAPE)
    images, _ = nets.batch(24, SHAPE)
    labels = nets.predicted(model, images)
    attack = Lpa(LpipsBall(0.08), rounds=3, round_steps=4)
    got = run(attack, model, jax.random.key(0), images, labels)
    alone = craft_batches(
        attack, model, jax.random.key(0), images, labels, batch_size=3, chunk_steps=2
    )
    used = np.asarray(got.steps_used)
    assert np.mean(np.asarray(got.success) == alone.success) > 0.95
    assert attack.steps == 12 and np.all(used <= 12)
    assert np.all(used[~np.asarray(got.success)] == 12)
    assert np.min(used) < 12 and 0 < np.mean(got.success)


def test_stronger_attacks_break_more():
    """LPA and PPGD beat random points of the ball on a network that has learned."""
    model = nets.conv(SHAPE, seed=2)
    images, _ = nets.batch(80, SHAPE, seed=3)
    labels = nets.predicted(model, images)
    threat = LpipsBall(0.05)

    def broken(attack):
        got = run(attack, model, jax.random.key(0), images, labels)
        return np.mean(got.success)

    noise = broken(UniformNoise(threat.replace(start=0.2), steps=10))
    ppgd = broken(Ppgd(threat, steps=10))
    lpa = broken(Lpa(threat, rounds=5, round_steps=6))
    assert ppgd > noise + 0.2 and lpa > noise + 0.2


def test_sweeping_the_budget_and_the_weights_compiles_once():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.extend([event] * ("backend_compile" in event))
    )
    images, labels = nets.batch(8, SHAPE)
    crafter = Crafter()
    counts = []
    for eps, seed in ((0.1, 1), (0.2, 1), (0.2, 2)):
        external = nets.conv(SHAPE, seed=seed)
        attack = Lpa(LpipsBall(eps, external), rounds=1, round_steps=2)
        before = len(compiled)
        craft_batches(
            attack, nets.linear(SHAPE), jax.random.key(0), images, labels,
            batch_size=1, crafter=crafter,
        )  # fmt: skip
        counts.append(len(compiled) - before)
    assert counts[0] > 0 and counts[1:] == [0, 0]


def test_every_network_has_taps_that_make_a_distance():
    small = {"width": 2, "stage_sizes": (1, 1)}
    networks = {"lenet_v2": {}, "resnet18": small, "cifar_alexnet": {"trunk": True}}
    for name, fields in networks.items():
        module = MODELS[name](**fields)
        shape = (16, 16, 3)
        variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, *shape)))
        metric = Lpips(Classifier.from_linen(module, variables))
        a, b = RNG.uniform(size=(2, *shape)).astype(np.float32)
        distance = jax.jit(Lpips.__call__)
        assert distance(metric, a, a) == 0 and 0 < distance(metric, a, b) < 4
