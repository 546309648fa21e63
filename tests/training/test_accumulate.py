"""A batch in parts: the step is that of the whole, or of as many devices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import parallel, specs
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.data import mixing
from jaxadv.defenses import DEFENSES, Adversarial, Clean, Trades
from jaxadv.defenses.base import Network
from jaxadv.threats.lp import Linf
from jaxadv.training import state as train_state
from jaxadv.training.awp import Awp
from jaxadv.training.optim import Optimizer
from jaxadv.training.parts import in_turn, kept, split
from tests.training.small import (
    CLASSES,
    Small,
    close,
    make_batch,
    make_state,
    on_devices,
)

SEARCH = {"steps": 2, "rel_step_size": 0.5, "keep": "last"}
RANDOM = Ascent(Linf(0.1), **SEARCH)
FIXED = Ascent(Linf(0.1), **SEARCH, random_start=False)


def after(defense, parts, devices=1, module=None, steps=2, batch=None, **fields):
    """The state and the metrics behind some steps."""
    state = make_state(module, defense, averaged="ema_decay" in fields)
    step = train_state.make_step(seed=3, accumulate_steps=parts, **fields)
    step = on_devices(step, devices)
    values = {}
    for i in range(steps):
        state, values = step(state, batch or make_batch(seed=i), defense)
    return state, values


def same(found, expected, tolerance=1e-5):
    (state, values), (other, others) = found, expected
    for name in ("params", "opt_state", "ema", "memory"):
        close(getattr(state, name), getattr(other, name), tolerance)
    close(values, others, tolerance)


MIXED = {
    "soften": lambda step, batch: mixing.soften(
        mixing.MixUp(), 0.1, CLASSES, jax.random.key(step), batch
    )
}


@pytest.mark.parametrize(
    "defense, parts, fields",
    [
        (Clean(), 4, {}),
        (Adversarial((FIXED,), alpha=0.5), 2, {"ema_decay": 0.5}),
        (Adversarial((RANDOM,)), 2, MIXED),
        (Trades((RANDOM,)), 2, {"awp": Awp(0.05)}),
    ],
)
def test_a_step_in_parts_is_that_of_the_whole(defense, parts, fields):
    """Starts come from the example ids, so that random attacks find the same too."""
    same(after(defense, parts, **fields), after(defense, 1, **fields))


def test_parts_have_the_keys_of_as_many_devices():
    """On equal images one mask for all parts would make the losses equal."""
    module, defense = Small(dropout=0.5), Adversarial((RANDOM,))
    two = after(defense, 2, module=module)
    same(two, after(defense, 1, devices=2, module=module))
    whole = after(defense, 1, module=module)
    assert not np.allclose(two[1]["loss"], whole[1]["loss"], rtol=1e-3)


def test_running_statistics_move_once_a_part():
    module, batch = Small(norm=True), make_batch()
    state, _ = after(Clean(), 2, module=module, steps=1, batch=batch)
    fresh = make_state(module)
    dense = fresh.params["Dense_0"]
    images = batch["image"].reshape(2, 8, -1).astype(np.float32) / 255
    mean, var = np.zeros(6), np.ones(6)
    for part in images @ dense["kernel"] + dense["bias"]:
        mean, var = 0.9 * mean + 0.1 * part.mean(0), 0.9 * var + 0.1 * part.var(0)
    found = state.batch_stats["BatchNorm_0"]
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["var"], var, rtol=1e-4)


def test_images_are_attacked_on_the_statistics_of_their_own_part():
    """With `craft_bn="batch"` a part is what a device attacks together."""
    found = []
    for parts, devices in ((2, 1), (1, 2), (1, 1)):
        defense = Adversarial((FIXED,))
        state = make_state(Small(norm=True), defense)
        state = state.replace(network=Network(Small(norm=True), craft_bn="batch"))
        step = train_state.make_step(seed=0, accumulate_steps=parts)
        found.append(on_devices(step, devices)(state, make_batch(), defense))
    close(found[0][0].params, found[1][0].params, 1e-5)
    assert not np.allclose(found[0][1]["loss"], found[2][1]["loss"], rtol=1e-4)


@pytest.mark.parametrize(
    "name, fields",
    [
        ("iaat", {"gamma": 0.02, "beta": 0.5, "least_step": 0.01}),
        ("mma", {"d_max": 0.3, "min_eps": 0.02}),
    ],
)
def test_every_image_of_every_part_is_remembered(name, fields):
    defense = DEFENSES[name](attacks=(RANDOM,), **fields)
    batch = make_batch()
    whole, parts = (after(defense, n, batch=batch)[0].memory["eps"] for n in (1, 2))
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
    assert np.all(np.any(np.split(whole[batch["id"]] > 0, 2), axis=1))


def test_what_is_shared_by_all_images_is_left_to_the_next_part():
    """Without a learning rate two parts are two steps, of half a batch each."""
    defense = DEFENSES["universal"](attacks=(FIXED,))
    state = make_state(defense=defense, optimizer=Optimizer(momentum=0.0).make(0.0))
    batch, memories = make_batch(), []
    for parts in (2, 1):
        now = state
        step = on_devices(train_state.make_step(0, accumulate_steps=parts), 1)
        for half in [batch] if parts == 2 else halves(batch):
            now, _ = step(now, half, defense)
        memories.append(now.memory)
    np.testing.assert_allclose(memories[0], memories[1], atol=1e-6)
    assert np.any(memories[0])


def halves(batch):
    return [
        {k: v[part] for k, v in batch.items()} for part in np.split(np.arange(16), 2)
    ]


def test_replicas_stay_equal():
    defense = Adversarial((RANDOM,))
    state = parallel.replicate(make_state(Small(norm=True, dropout=0.5), defense))
    step = parallel.mapped(train_state.make_step(0, accumulate_steps=2))
    batch = parallel.shard(make_batch(4 * jax.local_device_count()))
    state, values = step(state, batch, parallel.replicate(defense))
    parallel.assert_replicated((state, values))
    assert int(state.step) == 1


def test_only_a_part_is_held():
    """What the step needs beside its arguments shrinks with the parts."""
    module, batch = Small(width=2048), make_batch(64)
    defense, state = Adversarial((FIXED,)), make_state(module)

    def needed(parts):
        step = jax.vmap(
            train_state.make_step(0, accumulate_steps=parts),
            (None, 0, None),
            axis_name=parallel.AXIS,
        )
        rows = jax.tree.map(lambda x: x[None], batch)
        compiled = jax.jit(step).lower(state, rows, defense).compile()
        found: Any = compiled.memory_analysis()
        return found.temp_size_in_bytes

    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    whole, eighth = needed(1), needed(8)
    activations = 64 * 2048 * 4
    assert whole > activations > weights
    assert eighth < whole / 2


def test_parts_must_be_equal():
    with pytest.raises(specs.UsageError, match="accumulate_steps is 3.* 16 images"):
        after(Clean(), 3)


@pytest.mark.parametrize("count", [1, 3])
def test_parts_in_turn(count):
    parts = split({"x": jnp.arange(6.0)}, count)

    def work(left, part):
        return left + part["x"].sum(), {"mean": part["x"].mean(), "left": left}

    left, means = in_turn(work, jnp.zeros(()), parts, count)
    assert left == 15 and means["mean"] == 2.5
    assert means["left"] == {1: 0, 3: (0 + 1 + 6) / 3}[count]
    doubled = kept(lambda part: 2 * part["x"], parts, count)
    np.testing.assert_array_equal(doubled, 2 * parts["x"])
