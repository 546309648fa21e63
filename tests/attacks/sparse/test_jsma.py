"""JSMA on linear networks, where its choices and the fewest features are known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import Ascent, Jsma
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.objectives import CrossEntropy, Margin, TargetedMargin
from jaxadv.specs import UsageError
from jaxadv.threats import L0, Linf

KEY = jax.random.key(0)
WEIGHTS = np.array(
    [
        [-0.5, 0.1, -0.2, 0.2, 0.0, 0.0],
        [0.6, 0.2, 0.3, 0.3, -0.1, 0.05],
        [-0.1, -0.2, -0.3, 0.0, 0.2, 0.4],
    ],
    np.float32,
)
BIAS = np.array([0.3, 0.0, 0.0], np.float32)


def linear(variables, image, key):
    weights, bias = variables
    return weights @ image.ravel() + bias


MODEL = Classifier.from_function(linear, (WEIGHTS, BIAS))
IMAGE = np.full((1, 6, 1), 0.1, np.float32)


def attacked(model=MODEL, image=IMAGE, label=0, eps=6.0, **fields):
    attack = Jsma(L0(eps), **fields)
    found = craft(attack, model, KEY, image[None], jnp.array([label]))
    image = np.asarray(found.image)[0]
    return image, bool(found.success[0]), float(found.size[0])


@pytest.mark.parametrize(
    "target, pairs, features, logits",
    [
        (1, False, {0}, (-0.19, 0.675, -0.09)),
        (2, False, {4, 5}, None),
        (1, True, {0, 2}, (-0.37, 0.945, -0.36)),
    ],
)
def test_the_features_that_were_worked_out_by_hand(target, pairs, features, logits):
    image, success, size = attacked(
        objective=TargetedMargin(target), pairs=pairs, round_steps=4
    )
    changed = set(np.flatnonzero(image.ravel() != IMAGE.ravel()))
    assert success and changed == features and size == len(features)
    np.testing.assert_array_equal(image.ravel()[list(features)], 1.0)
    if logits:
        np.testing.assert_allclose(MODEL(image), logits, atol=1e-6)


def fewest(weights, bias, image, label):
    """The least number of features that break the image if they are set to 1."""
    x = image.ravel()
    for count in range(x.size + 1):
        for some in itertools.combinations(range(x.size), count):
            moved = x.copy()
            moved[list(some)] = 1.0
            z = weights @ moved + bias
            if np.max(np.delete(z, label)) >= z[label] + 1e-6:
                return count
    return np.inf


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pairs", [False, True])
def test_no_search_finds_fewer_features_than_there_are(seed, pairs):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(4, 9)).astype(np.float32)
    image = rng.random((3, 3, 1), np.float32) * 0.6
    z = weights @ image.ravel()
    model = Classifier.from_function(linear, (weights, np.zeros(4, np.float32)))
    least = fewest(weights, np.zeros(4), image, int(z.argmax()))
    _, success, size = attacked(
        model, image, int(z.argmax()), eps=9.0, pairs=pairs, round_steps=9, targets=3
    )
    assert success or not np.isfinite(least) or pairs
    if success:
        assert least <= size <= least + 3


def test_two_classes_are_broken_with_the_fewest_features():
    """With two classes a greedy order is the best one."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        weights = rng.normal(size=(2, 10)).astype(np.float32)
        weights[1] = -weights[0]
        image = rng.random((2, 5, 1), np.float32) * 0.8
        bias = np.zeros(2, np.float32)
        label = int((weights @ image.ravel()).argmax())
        model = Classifier.from_function(linear, (weights, bias))
        least = fewest(weights, bias, image, label)
        _, success, size = attacked(model, image, label, 10.0, round_steps=10)
        assert success == np.isfinite(least)
        # It takes the largest effect, not effect times room: one more may be needed.
        assert not success or least <= size <= least + 1


def test_all_targets_are_tried_and_the_fewest_kept():
    one = attacked(objective=TargetedMargin(2), round_steps=4)
    two = attacked(objective=TargetedMargin(1), round_steps=4)
    both = attacked(objective=Margin(), round_steps=4, targets=2)
    assert both[2] == min(one[2], two[2]) == 1
    np.testing.assert_array_equal(both[0], two[0])
    first = attacked(objective=Margin(), round_steps=4, targets=1)
    assert first[2] in (1, 2)


def test_eps_says_what_counts():
    _, success, size = attacked(objective=TargetedMargin(2), eps=1.0, round_steps=4)
    assert not success and size <= 1


def test_features_at_one_are_not_set_again():
    image = IMAGE.copy()
    image[0, 0] = 1.0
    found, success, _ = attacked(image=image, label=0, objective=TargetedMargin(1))
    assert float(found[0, 0, 0]) == 1.0


def test_what_it_does_not_take_is_told():
    with pytest.raises(UsageError, match="Jsma.objective is a CrossEntropy"):
        Jsma(L0(3.0), objective=CrossEntropy())
    with pytest.raises(UsageError, match="minimizes the norm of a ball: l0"):
        Jsma(Linf(0.1))
    assert Ascent(Linf(0.1), rel_step_size=0.1).steps == 10
