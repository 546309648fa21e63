"""Saliency networks, their foreground score, and the objectives that use it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import Ascent
from jaxadv.craft import craft
from jaxadv.data import sources
from jaxadv.objectives import CrossEntropy, Expectation, Noised, Salient, goal_at
from jaxadv.perceptual import saliency
from jaxadv.perceptual.saliency import Saliency, SaliencyNet, foreground_score
from jaxadv.smoothing import smoothed
from jaxadv.specs import UsageError, build
from jaxadv.threats import Linf, Masked
from jaxadv.training import saliency as training
from tests import nets

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES, _ = nets.batch(4)
MODEL = nets.linear()
LABELS = nets.predicted(MODEL, IMAGES)
SHAPE = IMAGES.shape[1:]
MASKS = (RNG.random((4, *SHAPE[:2], 1)) < 0.4).astype(np.float32)


class Linear:
    """A saliency network whose logits are the image's first channel, scaled."""

    def apply(self, scale, images):
        return scale * images[..., 0]


NETWORK = Saliency(jnp.float32(3.0), Linear())


def test_the_score_s_gradient_is_p_times_f_minus_s():
    logits = jnp.asarray(RNG.normal(size=(5, 4)), jnp.float32)
    mask = jnp.asarray(RNG.random((5, 4, 1)) < 0.5, jnp.float32)

    def score(z):
        return foreground_score(jax.nn.log_softmax(z, axis=(0, 1)), mask)

    p, s = jax.nn.softmax(logits, axis=(0, 1)), score(logits)
    np.testing.assert_allclose(
        jax.grad(score)(logits), p * (mask[..., 0] - s), atol=1e-6
    )
    assert 0 < float(s) < 1
    assert float(foreground_score(jnp.log(p), jnp.ones((5, 4, 1)))) == pytest.approx(1)


def test_a_network_is_a_density_and_survives_its_file(tmp_path):
    net = SaliencyNet(width=4)
    network = Saliency(net.init(KEY, jnp.zeros((1, 7, 9, 3))), net)
    found = network(jnp.asarray(RNG.random((7, 9, 3)), jnp.float32))
    assert found.shape == (7, 9)
    assert float(jnp.exp(found).sum()) == pytest.approx(1, abs=1e-5)
    path = tmp_path / "net.safetensors"
    saliency.save(path, network)
    spec = {"name": "file", "path": str(path)}
    again = build(spec, saliency.SALIENCY, "network")
    image = jnp.full((7, 9, 3), 0.3)
    np.testing.assert_array_equal(network(image), again(image))
    with pytest.raises(UsageError, match="jaxadv saliency --data=shapes --output"):
        saliency.load(str(tmp_path / "other"))
    (tmp_path / "bad.safetensors").write_bytes(b"xx")
    with pytest.raises(UsageError, match="holds no saliency network"):
        saliency.load(str(tmp_path / "bad.safetensors"))


def test_lambda_adds_the_score_and_zero_leaves_the_network_out():
    def value(**fields):
        objective = Salient(mask=MASKS[0], network=NETWORK, **fields)
        bound = objective.bind(MODEL, IMAGES[0], LABELS[0], KEY)
        return bound(MODEL, jnp.asarray(IMAGES[0]), LABELS[0], KEY)

    plain = CrossEntropy()(MODEL, jnp.asarray(IMAGES[0]), LABELS[0], KEY)
    score = foreground_score(NETWORK(jnp.asarray(IMAGES[0])), MASKS[0])
    np.testing.assert_allclose(value(lam=2.0), plain + 2 * score, rtol=1e-6)
    none = Salient(lam=0.0, mask=MASKS[0]).bind(MODEL, IMAGES[0], LABELS[0], KEY)
    np.testing.assert_array_equal(
        none(MODEL, jnp.asarray(IMAGES[0]), LABELS[0], KEY), plain
    )
    with pytest.raises(UsageError, match="Salient.network is None; give a saliency"):
        Salient()


@pytest.mark.parametrize("lam", [0.5, 20.0])
def test_the_attack_keeps_looks_on_the_foreground(lam):
    """Of the data set's masks, for threat and objective alike."""
    threat = Masked(Linf(0.05), Linf(0.2), mask="dataset")

    def scored(lam):
        objective = Salient(lam=lam, network=NETWORK)
        attack = Ascent(threat, objective, steps=20, rel_step_size=0.2, keep="last")
        found = craft(
            attack, MODEL, KEY, IMAGES, LABELS, features={"mask": MASKS}
        )  # fmt: skip
        return np.mean(
            [
                foreground_score(NETWORK(x), m)
                for x, m in zip(found.image, MASKS, strict=True)
            ]
        )

    assert scored(lam) > scored(0.0)
    with pytest.raises(
        UsageError, match=r"(threat|objective)\.mask is the mask of each"
    ):
        attack = Ascent(Linf(0.1), Salient(network=NETWORK), steps=1, rel_step_size=1.0)
        craft(attack, MODEL, KEY, IMAGES, LABELS)


def test_noised_is_the_mean_of_the_losses_at_noisy_copies():
    objective, image = Noised(sigma=0.3, samples=5), jnp.asarray(IMAGES[0])
    found = objective(MODEL, image, LABELS[0], KEY)
    keys = jax.random.split(KEY, 5)
    noise = [0.3 * jax.random.normal(k, image.shape) for k in keys]
    losses = [CrossEntropy()(MODEL, image + n, LABELS[0]) for n in noise]
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-5)
    # It is the expectation over the draws of the network that is smoothed by one.
    other = Expectation(samples=5)(smoothed(MODEL, 0.3, 1), image, LABELS[0], KEY)
    np.testing.assert_allclose(found, other, rtol=1e-5)
    # Success is asked of the mean prediction, as of the smoothed network.
    goal = goal_at(objective, MODEL, image, LABELS[0], KEY)
    logits = smoothed(MODEL, 0.3, 5)(image, KEY)
    np.testing.assert_allclose(goal, objective.goal(logits, LABELS[0]), atol=1e-5)


def test_the_score_is_taken_at_the_noisy_copies_too():
    salient = Salient(lam=2.0, network=NETWORK, mask=MASKS[0])
    objective = Noised(salient, sigma=0.3, samples=3)
    image = jnp.asarray(IMAGES[0])
    bound = objective.bind(MODEL, image, LABELS[0], KEY)
    noise = [0.3 * jax.random.normal(k, image.shape) for k in jax.random.split(KEY, 3)]
    losses = [
        CrossEntropy()(MODEL, image + n, LABELS[0])
        + 2 * foreground_score(NETWORK(image + n), MASKS[0])
        for n in noise
    ]
    np.testing.assert_allclose(
        bound(MODEL, image, LABELS[0], KEY), np.mean(losses), rtol=1e-5
    )


def bright(count=96):
    """Images whose foreground is a bright square somewhere."""
    rng, images = np.random.default_rng(1), np.zeros((count, 8, 8, 1), np.uint8)
    masks = np.zeros((count, 8, 8, 1), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        y, x = rng.integers(0, 5, 2)
        image[y : y + 3, x : x + 3], mask[y : y + 3, x : x + 3] = 200, 1
    labels = np.arange(count) % 2
    return sources.from_arrays(images, labels, mask=masks, name="bright")


def test_training_finds_the_foreground():
    lines = []
    network = training.fit(
        bright(), steps=150, batch_size=16, width=4, show=lines.append
    )
    own, even = training.scores(network, bright())
    assert own > 0.8 and even == pytest.approx(9 / 64)
    assert "compiling" in lines[0] and "step 150/150" in lines[-1]
    empty = jnp.zeros((2, 8, 8, 1))
    assert float(training.mean_loss(network, empty, empty)) == 0
    images, labels = nets.batch(8)
    plain = sources.from_arrays(images, labels, name="plain")
    with pytest.raises(UsageError, match="the images of plain have no mask"):
        training.fit(plain)
