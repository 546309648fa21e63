"""Generalized adversarial training against literal references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import parallel
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.craft import joint
from jaxadv.defenses import Adversarial, Generalized
from jaxadv.specs import UsageError
from jaxadv.threats.lp import L2, Linf
from jaxadv.training import state as train_state
from tests.defenses.test_defenses import BATCH, CLASSES, SHAPE, Normed, entropies, setup
from tests.oracles import ampgd
from tests.training.small import close, make_batch, make_state, on_devices

STEPS = 3


def pgd(threat, **fields):
    given = {"steps": STEPS, "step_size": 0.02, "keep": "last", "random_start": False}
    return Ascent(threat, **(given | fields))


def two(**fields):
    return (pgd(Linf(0.1), **fields), pgd(L2(0.25), **fields))


def evaluate(defense, params, state, batch, key=0):
    """The defense's loss on one device."""

    def run(params, batch):
        return defense.loss(params, state, batch, jax.random.key(key))

    mapped = jax.vmap(run, (None, 0), axis_name=parallel.AXIS)
    found = jax.jit(mapped)(params, jax.tree.map(lambda x: x[None], batch))
    return jax.tree.map(lambda x: x[0], found)


def gradient(defense, params, state, batch, key=0):
    def run(params, batch):
        return defense.loss(params, state, batch, jax.random.key(key))[0]

    mapped = jax.vmap(jax.grad(run), (None, 0), axis_name=parallel.AXIS)
    found = jax.jit(mapped)(params, jax.tree.map(lambda x: x[None], batch))
    return jax.tree.map(lambda x: x[0], found)


def with_memory(defense, state, examples=100):
    state.memory = defense.init(SHAPE, examples)
    return state


def searched(defense, params, state, batch, start):
    """The perturbed images [b, K, …] and the weights [b, K]."""

    def run(params, batch):
        model = state.network.classifier(params, state.batch_stats)
        return joint.search(defense, model, jax.random.key(0), batch, start)

    mapped = jax.vmap(run, (None, 0), axis_name=parallel.AXIS)
    found = jax.jit(mapped)(params, jax.tree.map(lambda x: x[None], batch))
    return [np.asarray(x)[0] for x in found]


def double(tree):
    return jax.tree.map(
        lambda x: np.asarray(x, np.float64 if x.dtype.kind == "f" else x.dtype), tree
    )


def net_of(params):
    """Kernel [d, classes] and bias of the network on unnormalized pixels."""
    dense = double(jax.device_get(params))["Dense_0"]
    kernel = dense["kernel"] / 0.25
    return kernel, dense["bias"] - 0.5 * kernel.sum(0)


# The search -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gradient", "diversity", "share"),
    [
        ("steepest", 0.0, "example"),
        ("raw", 0.0, "batch"),
        ("raw", 0.1, "example"),
        ("steepest", 0.1, "batch"),
    ],
)
def test_the_search_is_the_algorithm_written_out(gradient, diversity, share):
    """In float64, DPAR's second-order part by finite differences."""
    params, state, batch = setup()
    defense = Generalized(
        two(step_size=0.05 if gradient == "raw" else 0.02),
        gradient=gradient,
        diversity=diversity,
        share=share,
        weight_step=0.3,
        gamma=0.5,
    )
    start = np.array([[0.9, 0.1]]) if share == "example" else np.array([0.9, 0.1])
    start = np.tile(start, (BATCH, 1)) if share == "example" else start
    with jax.enable_x64(True):
        images, weights = searched(defense, double(params), state, double(batch), start)
    expected = ampgd.search(
        *net_of(params),
        batch["image"].astype(np.float64),
        batch["label"],
        np.broadcast_to(start, (BATCH, 2)),
        norms=("linf", "l2"),
        radii=(0.1, 0.25),
        steps=STEPS,
        step_size=defense.attacks[0].step_size,
        weight_step=0.3,
        gamma=0.5,
        diversity=diversity,
        raw=gradient == "raw",
        shared=share == "batch",
    )
    np.testing.assert_allclose(images, expected[0], atol=1e-6)
    np.testing.assert_allclose(weights, expected[1], atol=1e-6)
    moved = np.abs(weights - np.array([0.9, 0.1])).max()
    assert moved > 0.01
    if share == "example":
        assert np.ptp(weights[:, 0]) > 1e-3


@pytest.mark.parametrize("share", ["example", "batch"])
def test_perturbations_stay_in_their_balls_and_in_the_box(share):
    params, state, batch = setup()
    batch["image"] = np.random.default_rng(3).random((BATCH, *SHAPE), np.float32)
    defense = Generalized(
        two(step_size=0.5, random_start=True), diversity=0.1, share=share
    )
    start = defense._start(defense.init(SHAPE, 100), batch["id"])
    images, weights = searched(defense, params, state, batch, start)
    assert images.min() >= 0 and images.max() <= 1
    change = np.asarray(images, np.float64) - batch["image"][:, None]
    assert np.abs(change[:, 0]).max() <= np.float32(0.1)
    lengths = np.sqrt((change[:, 1] ** 2).sum((1, 2, 3)))
    assert 0.1 < lengths.max() <= 0.25 * (1 + 1e-6)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert weights.min() >= 0


def test_a_type_without_weight_goes_on_searching():
    params, state, batch = setup()
    start = np.tile(np.float32([1, 0]), (BATCH, 1))
    for kind, moves in (("steepest", True), ("raw", False)):
        defense = Generalized(two(), weight_step=0.0, gradient=kind)
        images, _ = searched(defense, params, state, batch, start)
        change = np.abs(np.asarray(images) - batch["image"][:, None]).max((2, 3, 4))
        assert (change[:, 0] > 0).all()
        assert (change[:, 1] > 0).all() == moves and (change[:, 1] == 0).all() != moves


def test_a_strong_pull_is_the_average_case():
    params, state, batch = setup()
    pulled = Generalized(two(), gamma=1e6, weight_step=1e-6)
    average = Generalized(two(), weighting="average")
    weighed = Generalized(two(), gamma=0.0, weight_step=1.0)
    losses = [
        float(evaluate(d, params, with_memory(d, state), batch)[0])
        for d in (pulled, average, weighed)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert losses[2] > losses[1] + 1e-3


# The loss -------------------------------------------------------------------------


def test_one_type_is_adversarial_training():
    """The same steps from the same point, and the same gradient."""
    params, state, batch = setup()
    attacks = (pgd(Linf(0.1)),)
    for fields in ({}, {"weighting": "average"}):
        ours = Generalized(attacks, alpha=0.4, beta=0.6, **fields)
        theirs = Adversarial(attacks, mode="average", alpha=0.4, beta=0.6)
        with_memory(ours, state)
        found, expected = (evaluate(d, params, state, batch)[0] for d in (ours, theirs))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        close(
            gradient(ours, params, state, batch),
            gradient(theirs, params, state, batch),
            1e-6,
        )


def test_average_is_adversarial_training_with_several_attacks():
    params, state, batch = setup()
    ours = Generalized(two(), weighting="average", alpha=0.5, beta=0.5)
    theirs = Adversarial(two(), mode="average", alpha=0.5, beta=0.5)
    found, expected = (evaluate(d, params, state, batch)[0] for d in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_loss_is_the_weighted_sum_at_fixed_images():
    """The gradient too: none comes through the images or the weights."""
    params, state, batch = setup()
    defense = Generalized(two(), gamma=0.0, weight_step=0.4, alpha=0.25, beta=0.75)
    start = defense._start(with_memory(defense, state).memory, batch["id"])
    images, weights = searched(defense, params, state, batch, start)

    def reference(params):
        clean = jnp.mean(entropies(params, batch["image"], batch["label"]))
        each = [entropies(params, images[:, i], batch["label"]) for i in (0, 1)]
        attacked = jnp.mean(weights[:, 0] * each[0] + weights[:, 1] * each[1])
        return 0.25 * clean + 0.75 * attacked

    loss, out = evaluate(defense, params, state, batch)
    np.testing.assert_allclose(loss, reference(params), rtol=1e-5)
    close(gradient(defense, params, state, batch), jax.grad(reference)(params), 1e-5)
    np.testing.assert_allclose(out.metrics["weight_0"], weights[:, 0].mean(), rtol=1e-5)
    assert 0.55 < float(np.max(weights))


def test_robust_accuracy_is_that_under_the_largest_loss():
    params, state, batch = setup()
    defense = Generalized(two())
    images, _ = searched(
        defense, params, state, batch, np.full((BATCH, 2), 0.5, np.float32)
    )
    losses = np.stack([entropies(params, images[:, i], batch["label"]) for i in (0, 1)])
    kernel, bias = net_of(params)
    hits = np.stack([
        np.argmax(np.asarray(images[:, i]).reshape(BATCH, -1) @ kernel + bias, 1)
        == batch["label"] for i in (0, 1)
    ])  # fmt: skip
    expected = hits[np.argmax(losses, 0), np.arange(BATCH)].mean()
    out = evaluate(defense, params, with_memory(defense, state), batch)[1]
    np.testing.assert_allclose(out.metrics["robust_accuracy"], expected)
    np.testing.assert_allclose(out.metrics["accuracy_1"], hits[1].mean())


def test_attacks_leave_the_statistics_alone():
    params, state, batch = setup(Normed())
    defense = Generalized(two(step_size=0.0), diversity=0.1)
    out = evaluate(defense, params, with_memory(defense, state), batch)[1]
    mean = ((batch["image"] - 0.5) / 0.25).reshape(BATCH, -1).mean(0)
    moved = out.batch_stats["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(moved, 0.1 * mean, atol=1e-5)


# DPAR -----------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0.02, 0.4, 1.0, np.pi / 2])
@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e-5, 1.0, 1e6])
def test_log_det_of_two_gradients_is_the_log_of_their_squared_sine(angle, scale):
    base = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 2)))[0].T
    second = np.cos(angle) * base[0] + np.sin(angle) * base[1]
    grads = np.stack([scale * base[0], second]).reshape(2, 2, 2, 2)
    found = jax.jit(joint.log_det)(np.float32(grads))
    added = 2e-6 + 1e-12
    expected = np.log(np.sin(angle) ** 2 + added)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-6)


def test_log_det_of_equal_and_of_missing_gradients_is_finite():
    same = np.ones((2, 3, 3, 1), np.float32)
    value, grad = jax.value_and_grad(joint.log_det)(same)
    assert -14 < value < -12 and np.isfinite(grad).all()
    value, grad = jax.value_and_grad(joint.log_det)(
        same * np.float32([[[[1]]], [[[0]]]])
    )
    assert np.isfinite(value) and np.isfinite(grad).all()
    three = np.eye(3, 9, dtype=np.float32)
    np.testing.assert_allclose(joint.log_det(three), 0, atol=4e-6)


@pytest.mark.parametrize("by", ["params", "images"])
def test_dpar_gradient_is_that_of_finite_differences(by):
    """In float64, of a network whose input gradients turn from point to point."""
    rng = np.random.default_rng(2)
    point = [
        [rng.standard_normal((9, 4)), rng.standard_normal((4, CLASSES))],
        [rng.random((2, *SHAPE))],
    ]
    which = ("params", "images").index(by)

    def value(params, images):
        def model(image, key):
            return jnp.tanh(image.reshape(-1) @ params[0]) @ params[1]

        return joint.diversity(model, images[0], 1, None)

    with jax.enable_x64(True):
        compiled = jax.jit(value)
        found = jax.device_get(jax.jit(jax.grad(value, which))(*point))
        for place, leaf in enumerate(point[which]):
            for index in np.ndindex(leaf.shape):
                ends = []
                for step in (1e-6, -1e-6):
                    old = leaf[index]
                    leaf[index] = old + step
                    ends.append(float(compiled(*point)))
                    leaf[index] = old
                expected = (ends[0] - ends[1]) / 2e-6
                np.testing.assert_allclose(
                    found[place][index], expected, rtol=1e-5, atol=1e-6
                )
    assert max(np.abs(g).max() for g in found) > 0.1


def test_dpar_reaches_the_weights_through_the_input_gradients_alone():
    params, state, batch = setup()
    defense = Generalized(two(), diversity=0.3, weighting="average")
    without = Generalized(two(), weighting="average")
    images, _ = searched(
        defense, params, state, batch, np.full((BATCH, 2), 0.5, np.float32)
    )

    def reference(params):
        clean = jnp.mean(entropies(params, batch["image"], batch["label"]))
        each = [entropies(params, images[:, i], batch["label"]) for i in (0, 1)]
        model = state.network.classifier(params, {}, fixed=False)
        spread = jax.vmap(lambda x, y: joint.diversity(model, x, y, None))(
            images, batch["label"]
        )
        return 0.5 * clean + 0.5 * jnp.mean(sum(each) / 2 + 0.3 * spread)

    loss, out = evaluate(defense, params, state, batch)
    np.testing.assert_allclose(loss, jax.jit(reference)(params), rtol=1e-4)
    found = gradient(defense, params, state, batch)
    close(found, jax.jit(jax.grad(reference))(params), 1e-3)
    plain = gradient(without, params, state, batch)
    assert np.abs(found["Dense_0"]["kernel"] - plain["Dense_0"]["kernel"]).max() > 1e-2
    assert out.metrics["diversity"] < 0


def test_dpar_spreads_the_perturbations():
    params, state, batch = setup()
    start = np.full((BATCH, 2), 0.5, np.float32)
    spreads = []
    for strength in (0.0, 0.5):
        defense = Generalized(two(random_start=True), diversity=strength)
        images, _ = searched(defense, params, state, batch, start)
        model = state.network.classifier(params, {})
        value = jax.vmap(joint.diversity, (None, 0, 0, None))
        spread = jax.jit(value)(model, images, batch["label"], None)
        spreads.append(float(np.mean(spread)))
    assert spreads[1] > spreads[0] + 0.1


# Memory ---------------------------------------------------------------------------


def test_each_example_starts_where_its_last_visit_ended():
    params, state, batch = setup()
    defense = Generalized(two(), weight_step=0.1, gamma=0.0)
    memory = with_memory(defense, state).memory
    assert memory.shape == (100, 2)
    first = evaluate(defense, params, state, batch)[1].memory
    ids = batch["id"]
    others = np.setdiff1d(np.arange(100), ids)
    np.testing.assert_array_equal(first[others], 0.5)
    expected = searched(defense, params, state, batch, memory[ids])[1]
    np.testing.assert_allclose(first[ids], expected, atol=1e-6)
    state.memory = first
    second = evaluate(defense, params, state, batch)[1].memory
    expected = searched(defense, params, state, batch, first[ids])[1]
    np.testing.assert_allclose(second[ids], expected, atol=1e-6)
    assert np.abs(second[ids] - first[ids]).max() > 1e-3


@pytest.mark.parametrize(
    "fields", [{"warm_start": False}, {"weighting": "average"}], ids=str
)
def test_nothing_is_kept_where_nothing_is_needed(fields):
    params, state, batch = setup()
    defense = Generalized(two(), **fields)
    assert with_memory(defense, state).memory == ()
    assert evaluate(defense, params, state, batch)[1].memory == ()


def test_a_batch_has_one_weight():
    params, state, batch = setup()
    defense = Generalized(two(), share="batch", weight_step=0.1, gamma=0.0)
    memory = with_memory(defense, state).memory
    np.testing.assert_array_equal(memory, [0.5, 0.5])
    after = evaluate(defense, params, state, batch)[1].memory
    assert after.shape == (2,) and after[0] != 0.5


@pytest.mark.parametrize("share", ["example", "batch"])
def test_one_and_eight_devices_train_alike(share):
    fields = {"diversity": 0.1, "weight_step": 0.1, "gamma": 1.0, "share": share}
    defense = Generalized(two(random_start=True), **fields)
    ends = []
    for devices in (1, 8):
        state = make_state(defense=defense)
        step = on_devices(train_state.make_step(seed=3), devices)
        for i in range(2):
            state, _ = step(state, make_batch(seed=i), defense)
        ends.append(state)
    close(ends[0].params, ends[1].params, 1e-5)
    close(ends[0].memory, ends[1].memory, 1e-5)
    moved = np.any(np.asarray(ends[0].memory) != 0.5, axis=-1)
    if share == "example":
        seen = np.union1d(make_batch(seed=0)["id"], make_batch(seed=1)["id"])
        np.testing.assert_array_equal(np.flatnonzero(moved), seen)
    else:
        assert moved


@pytest.mark.parametrize("share", ["example", "batch"])
def test_memory_is_equal_on_all_devices(share):
    defense = Generalized(two(), share=share)
    state = parallel.replicate(make_state(defense=defense))
    step = parallel.mapped(train_state.make_step(seed=0))
    state, values = step(
        state, parallel.shard(make_batch()), parallel.replicate(defense)
    )
    parallel.assert_replicated((state, values))


# Mistakes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Generalized(()), r"needs attacks; set config\.attacks"),
        (lambda: Generalized((Fgsm(Linf(0.1)),)), "Fgsm in attacks; it takes 'pgd'"),
        (lambda: Generalized((pgd(Linf(0.1)), pgd(L2(1.0), steps=9))), "steps .* 9"),
        (lambda: Generalized(two(keep="best")), "keep of an attack is 'best'; set it"),
        (lambda: Generalized(two(momentum=0.9)), "momentum"),
        (lambda: Generalized(two(), alpha=0.0, beta=0.0), "both 0"),
        (lambda: Generalized(two(), share="all"), "share is 'all'; allowed: 'example'"),
        (
            lambda: Generalized(two(step_size=None, rel_step_size=0.1), gradient="raw"),
            "give the attacks step_size",
        ),
    ],
)
def test_mistakes_are_told(make, message):
    with pytest.raises(UsageError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
