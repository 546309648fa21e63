"""One step of training, on one device and on several."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import parallel, struct
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.defenses import Adversarial, Clean
from jaxadv.threats.lp import Linf
from jaxadv.training import state as train_state
from jaxadv.training.optim import Optimizer
from tests.training.small import (
    Small,
    close,
    make_batch,
    make_state,
    on_devices,
)


def noise():
    """Training on random points of the ball, the cheapest random attack."""
    return Adversarial((Ascent(Linf(0.1), steps=0, rel_step_size=0.5, keep="last"),))


def test_step_compiles_once_and_replicas_stay_equal():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: (
            compiled.append(event)
            if event.endswith("backend_compile_duration")
            else None
        )
    )
    state = parallel.replicate(make_state(Small(norm=True, dropout=0.5), noise()))
    step = parallel.mapped(train_state.make_step(seed=0))
    defense = parallel.replicate(noise())
    counts = []
    for i in range(3):
        batch = parallel.shard(make_batch(seed=i))
        before = len(compiled)
        state, values = step(state, batch, defense)
        counts.append(len(compiled) - before)
    assert counts == [1, 0, 0]
    parallel.assert_replicated((state, values))
    assert int(state.step) == 3
    norm = state.batch_stats["BatchNorm_0"]
    assert not np.allclose(norm["mean"], 0)


def test_averaged_gradient_is_that_of_the_whole_batch():
    optimizer = Optimizer(momentum=0.0).make(1.0)
    state, batch = make_state(optimizer=optimizer), make_batch()
    network = state.network

    def whole(params):
        images = batch["image"].astype(np.float32) / 255
        logits = network.module.apply({"params": params}, images)
        log_p = jax.nn.log_softmax(logits)
        return -jnp.mean(log_p[jnp.arange(16), batch["label"]])

    loss, grads = jax.value_and_grad(whole)(state.params)
    after, values = on_devices(train_state.make_step(0), 8)(state, batch, Clean())
    close(after.params, jax.tree.map(np.subtract, state.params, grads), 1e-5)
    np.testing.assert_allclose(values["loss"], loss, rtol=1e-5)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    np.testing.assert_allclose(values["gradient_norm"], norm, rtol=1e-4)


def test_one_and_two_devices_train_alike():
    """Random starts come from the example ids, so the split does not matter."""
    ends = []
    for count in (1, 2):
        state = make_state(defense=noise())
        step = on_devices(train_state.make_step(seed=3), count)
        for i in range(3):
            state, _ = step(state, make_batch(seed=i), noise())
        ends.append(state)
    close(ends[0].params, ends[1].params, 1e-5)
    close(ends[0].opt_state, ends[1].opt_state, 1e-5)


def test_dropout_differs_between_devices_and_steps():
    """On equal images, one device's mask for all would make the losses equal."""
    batch = make_batch(2)
    batch = {k: np.repeat(v[:1], 2, axis=0) for k, v in batch.items()}
    batch["id"] = np.array([3, 4], np.int32)
    state = make_state(Small(dropout=0.5))

    def losses(state, batch, defense):
        key = jax.random.fold_in(jax.random.key(0), state.step)
        image = batch["image"].astype(jnp.float32)
        loss = defense.loss(state.params, state, {**batch, "image": image}, key)[0]
        return state, jax.lax.all_gather(loss, parallel.AXIS)

    first = on_devices(losses, 2)(state, batch, Clean())[1]
    assert first[0] != first[1]
    second = on_devices(losses, 2)(state.replace(step=np.int32(1)), batch, Clean())[1]
    assert second[0] != first[0]


def test_average_of_the_weights():
    state = make_state(averaged=True)
    step = on_devices(train_state.make_step(0, ema_decay=0.75), 2)
    after, _ = step(state, make_batch(), Clean())
    expected = jax.tree.map(
        lambda old, new: 0.75 * old + 0.25 * new, state.params, after.params
    )
    close(after.ema, expected, 1e-6)
    close(after.evaluated[0], expected, 1e-6)


def test_augmentation_sees_the_step_and_the_ids():
    def augment(step, ids, images, features):
        return images * 0 + (ids[:, None, None, None] + step) / 200, features

    @struct.dataclass
    class Seen:
        def loss(self, params, state, batch, key):
            value = jnp.mean(batch["image"])
            out = Clean().loss(params, state, batch, key)[1]
            return out.replace() and value, out

    state, batch = make_state().replace(step=np.int32(7)), make_batch()
    step = on_devices(train_state.make_step(0, augment=augment), 2)
    values = step(state, batch, Seen())[1]
    np.testing.assert_allclose(values["loss"], (batch["id"].mean() + 7) / 200, 1e-5)
