"""The state of a training run, and one step of it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training import train_state

from jaxadv import parallel, protocols, struct
from jaxadv.data import batches
from jaxadv.defenses.base import Network, features
from jaxadv.numerics import streams
from jaxadv.training.awp import Awp, perturbation
from jaxadv.training.optim import noise_step
from jaxadv.training.parts import in_turn, kept, split


class TrainState(train_state.TrainState):
    """All that a step changes, equal on every device; `apply_fn` is unused.

    Attributes:
      batch_stats: running statistics of batch normalization, {} for none.
      memory: the defense's own memory, () for none.
      ema: exponentially averaged params, or None.
      network: the module and its preprocessing; static.
      examples: of an epoch; static.
      steps_per_epoch: static.
    """

    batch_stats: Any
    memory: Any
    ema: Any
    network: Network = struct.field(pytree_node=False)
    examples: int = struct.field(pytree_node=False, default=1)
    steps_per_epoch: int = struct.field(pytree_node=False, default=1)

    @property
    def evaluated(self) -> tuple[Any, Any]:
        """(params, batch_stats) to judge: the averaged params if there are any."""
        return (self.params if self.ema is None else self.ema), self.batch_stats


def create_state(
    network: Network,
    memory: Any,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    image_shape: tuple[int, ...],
    averaged: bool = False,
    examples: int = 1,
    steps_per_epoch: int = 1,
    begin: Callable[[Any, Any], tuple[Any, Any]] = lambda *fresh: fresh,
) -> TrainState:
    """The state before the first step, on the host.

    Args:
      network: what to train.
      memory: what the defense remembers; see `defenses.base.shared_memory`.
      optimizer: see `optim.Optimizer.make`.
      seed: of the initial weights.
      image_shape: [h, w, c].
      averaged: keep exponentially averaged params.
      examples: of an epoch, which some defenses weigh by.
      steps_per_epoch: which some defenses count epochs by.
      begin: what training begins with, of fresh (params, batch_stats).
    """
    params, batch_stats = begin(*network.init(jax.random.key(seed), image_shape))
    make: Any = TrainState  # flax annotates its fields more narrowly than it uses them
    state = make(
        step=np.int32(0),
        apply_fn=None,
        params=params,
        tx=optimizer,
        opt_state=optimizer.init(params),
        batch_stats=batch_stats,
        memory=memory,
        ema=params if averaged else None,
        network=network,
        examples=examples,
        steps_per_epoch=steps_per_epoch,
    )
    # Copies: the same buffer in two places cannot be donated.
    return jax.tree.map(np.array, jax.device_get(state))


def make_step(
    seed: int,
    *,
    augment: Callable = lambda step, ids, images, features: (images, features),
    soften: Callable = lambda step, batch: batch,
    ema_decay: float | None = None,
    awp: Awp | None = None,
    accumulate_steps: int = 1,
) -> Callable:
    """`step(state, batch, defense) -> (state, metrics)`, for `parallel.mapped`.

    The defense (see `jaxadv.defenses`) is an argument, because its attacks may hold
    whole networks. The batch has `image` [b, h, w, c], uint8 or in [0, 1], `label`
    [b], `id` [b] and the features that attacks want. The devices only share one mean.
    The metrics are the defense's with `loss` and `gradient_norm`, the norm before
    clipping.

    Args:
      seed: of the attacks and of dropout; the step and the example ids, not the
        devices, make their keys.
      augment: (step, ids, images, features) -> images and features, all traced.
      soften: (step, batch) -> batch, as `data.mixing.soften` with the epoch's key.
      ema_decay: of the averaged params, if the state has them.
      awp: takes the gradient of defenses that `craft` at perturbed weights.
      accumulate_steps: equal parts of a device's images, each attacked and
        differentiated in turn; the step takes the mean of their gradients. Images
        are normalized by the statistics of their own part. Each part moves the running
        statistics and the defense's memory, and the next one finds them moved. Keys are
        those of as many devices with a part each.

    Raises:
      UsageError: when the step is traced, a device's images do not divide.
    """

    def step(state, batch, defense):
        key = streams.stream(jax.random.key(seed), "training")
        key = jax.random.fold_in(key, state.step)
        images = batches.to_float(batch["image"])
        images, maps = augment(state.step, batch["id"], images, features(batch))
        batch = soften(state.step, {**batch, "image": images, **maps})

        if own := protocols.noise_loss(defense):
            state = _with_noise_step(state, own)

        grads, values, left = _differentiate(
            defense, state, split(batch, accumulate_steps), accumulate_steps, key, awp
        )
        grads, values = jax.lax.pmean((grads, values), parallel.AXIS)
        values["gradient_norm"] = _norm(grads)
        state = state.apply_gradients(grads=grads, **left)
        module = state.network.module
        state = state.replace(params=protocols.constrain(module, state.params))
        if ema_decay is not None:
            ema = optax.incremental_update(state.params, state.ema, 1 - ema_decay)
            state = state.replace(ema=ema)
        return state, values

    return step


def _differentiate(defense, state, parts, count, key, awp):
    """This device's mean gradient and metrics, and what its last part has left.

    With `awp` the gradient is that at the perturbed weights, which are the same for all
    parts; what is attacked on the weights themselves is kept until then.
    """
    params, crafted = state.params, ()

    def loss_of(params, state, part):
        batch, crafted = part
        return defense.loss(params, state, batch, key, *crafted)

    if awp is not None and protocols.crafts(defense):
        craft = functools.partial(defense.craft, state.params, state)
        crafted = (kept(lambda batch: craft(batch, key), parts, count),)
        climb = jax.grad(lambda params, part: loss_of(params, state, part)[0])
        _, grads = in_turn(
            lambda left, part: (left, climb(state.params, part)),
            (),
            (parts, crafted),
            count,
        )
        gamma = awp.at(state.step, state.steps_per_epoch)
        moved = perturbation(grads, state.params, gamma)
        params = jax.tree.map(jnp.add, state.params, moved)

    def work(left, part):
        differentiate = jax.value_and_grad(loss_of, has_aux=True)
        (loss, out), grads = differentiate(params, state.replace(**left), part)
        batch_stats = jax.lax.pmean(out.batch_stats, parallel.AXIS)
        left = {"batch_stats": batch_stats, "memory": out.memory}
        return left, (grads, {**out.metrics, "loss": loss})

    left = {"batch_stats": state.batch_stats, "memory": state.memory}
    left, (grads, values) = in_turn(work, left, (parts, crafted), count)
    return grads, values, left


def _with_noise_step(state, own):
    """The state after a step that makes `own(params, state)` smaller in the noise."""
    grads = jax.grad(lambda params: own(params, state))(state.params)
    noise = protocols.learns_noise(state.network.module)
    params, opt_state = noise_step(
        state.tx, grads, state.opt_state, state.params, noise
    )
    return state.replace(params=params, opt_state=opt_state)


def _norm(tree):
    """The l2 norm of all leaves as one vector."""
    squares = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))
