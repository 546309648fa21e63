"""The elastic-net attack against its algorithm in NumPy and the closed form for l1."""

import jax
import numpy as np

from jaxadv.attacks import CarliniWagner, ElasticNet
from jaxadv.craft import craft
from jaxadv.threats import L1, L2
from tests import nets
from tests.oracles.linear import smallest_norm

BOX = 64.0  # l1 norms of the whole unit box are smaller
run = jax.jit(craft)


def problem():
    model, (images, _) = nets.linear(classes=2, seed=38), nets.batch(12, seed=38)
    return model, images, nets.predicted(model, images)


def parameters(model, image):
    w = np.asarray(model.variables["w"], np.float64).reshape(-1, *image.shape)
    return w, np.asarray(model.variables["b"], np.float64)


def by_hand(model, image, label, constant, steps, step_size, beta):
    """Algorithm 1 in its own terms: images x and y, one round; y in the box."""
    w, b = parameters(model, image)
    slope, bias = w[1 - label] - w[label], b[1 - label] - b[label]
    x0 = np.asarray(image, np.float64)
    x, y, found = x0.copy(), x0.copy(), []
    for k in range(steps):
        flat = np.sum(slope * y) + bias >= 0
        grad = 2 * (y - x0) - constant * slope * (not flat)
        z = y - step_size * np.sqrt(1 - k / steps) * grad
        new = np.where(z - x0 > beta, np.minimum(z - beta, 1), x0)
        new = np.where(z - x0 < -beta, np.maximum(z + beta, 0), new)
        x, y = new, np.clip(new + k / (k + 3) * (new - x), 0, 1)
        found.append(x - x0)
    return found


def test_a_round_is_that_of_the_algorithm():
    model, images, labels = problem()
    attack = ElasticNet(L1(BOX), rounds=1, round_steps=40, search=0, first_constant=0.3)
    step, moved = jax.jit(attack.step), 0
    for image, label in zip(images[:4], labels[:4], strict=True):
        want = by_hand(model, image, int(label), 0.3, 40, 0.01, 1e-3)
        state = attack.init(jax.random.key(0), model, image, label)
        for k in range(39):  # the last step goes back to the image
            state = step(state, model, image, label)
            np.testing.assert_allclose(state.params, want[k], atol=2e-6)
        moved += np.count_nonzero(np.abs(want[38]) > 1e-3)
        assert np.any(want[38] == 0)
    assert moved > 20


def test_shrinkage_goes_from_small_l2_to_the_smallest_l1_norm():
    model, images, labels = problem()
    w, b = parameters(model, images[0])
    want = np.array(
        [smallest_norm(w, b, x, y, "l1") for x, y in zip(images, labels, strict=True)]
    )
    attacks = [CarliniWagner(L2(8.0), round_steps=100)]
    attacks += [ElasticNet(L1(BOX), shrinkage=s, round_steps=300) for s in (1e-3, 0.03)]
    norms = []
    for attack in attacks:
        got = run(attack, model, jax.random.key(0), images, labels)
        assert np.all(got.success)
        change = (np.asarray(got.image) - images).reshape(len(images), -1)
        norms.append([np.linalg.norm(change, p, axis=1) for p in (1, 2)])
    (dense, least), (middle, wider), (sparse, widest) = norms
    assert np.all(want * (1 - 1e-5) <= sparse) and np.all(sparse <= 1.05 * want)
    assert np.all(sparse < middle) and np.all(middle < dense)
    assert np.all(least < wider) and np.all(wider < widest)
