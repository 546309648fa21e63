"""Losses and steps of one defense on one device or more."""

import jax
import numpy as np

from jaxadv import parallel
from jaxadv.training import state as train_state
from tests.training.small import make_batch, make_state, on_devices


def evaluate(defense, params, state, batch, key=0):
    """The defense's (loss, output) and the gradient of its loss, on one device."""

    def run(params, batch):
        return defense.loss(params, state, batch, jax.random.key(key))

    run = jax.value_and_grad(run, has_aux=True)
    mapped = jax.vmap(run, (None, 0), axis_name=parallel.AXIS)
    found = jax.jit(mapped)(params, jax.tree.map(lambda x: x[None], batch))
    (loss, out), grads = jax.tree.map(lambda x: np.asarray(x)[0], found)
    return loss, out, grads


def trained(defense, steps, devices=1):
    """The losses of `steps` steps on one batch, and the state behind them."""
    state, batch = make_state(defense=defense), make_batch()
    step = on_devices(train_state.make_step(seed=3), devices)
    losses = []
    for _ in range(steps):
        state, values = step(state, batch, defense)
        losses.append(float(values["loss"]))
    return losses, state
