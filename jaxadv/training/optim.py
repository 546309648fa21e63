"""Learning-rate schedules and optimizers, from the fields of a config."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxadv import hints, specs

SCHEDULES = ("constant", "steps", "cosine", "cyclic")
OPTIMIZERS = ("sgd", "adam", "adamw")
WEIGHTS, NOISE = "weights", "noise"  # the parts of a random network's optimizer


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How the learning rate moves; its largest value is the optimizer's own.

    Attributes:
      kind: "constant"; "steps" (multiplied by `drop_factor` at each of
        `drop_epochs`); "cosine" (half a period from the end of the warm-up, down
        to 0: Loshchilov and Hutter, "SGDR", 2017, eq. 5, without restarts);
        "cyclic" (one triangle from 0 over the maximum at `peak` to 0: Smith,
        "Cyclical learning rates for training neural networks", 2017).
      warmup_epochs: epochs over which a factor rises linearly to 1; it reaches 1
        in the last step of the warm-up.
      drop_epochs: epochs, counted from 0, at whose start the rate drops.
      drop_factor: see above.
      peak: where the triangle is highest, as a fraction of the training.
    """

    kind: str = specs.given("constant", choices=SCHEDULES)
    warmup_epochs: float = specs.static(0.0, minimum=0.0)
    drop_epochs: tuple[float, ...] = ()
    drop_factor: float = specs.static(0.1, minimum=0.0)
    peak: float = specs.static(0.5, minimum=0.0, maximum=0.999)

    def __post_init__(self):
        specs.check(self)
        if self.kind == "steps" and not self.drop_epochs:
            raise specs.UsageError(
                "Schedule: its name is 'steps' but drop_epochs is empty"
            )

    def drops(self, steps_per_epoch: int) -> tuple[float, ...]:
        """The steps at whose start the rate drops; none of other kinds than "steps"."""
        epochs = self.drop_epochs if self.kind == "steps" else ()
        return tuple(epoch * steps_per_epoch for epoch in epochs)

    def make(self, rate: float, epochs: int, steps_per_epoch: int) -> Callable:
        """`step -> learning rate`, traced or not, with the maximum `rate`."""
        total = epochs * steps_per_epoch
        starts = jnp.asarray(self.drops(steps_per_epoch))
        warmup = self.warmup_epochs * steps_per_epoch

        def shape(step):
            if self.kind == "steps":
                return self.drop_factor ** jnp.sum(step >= starts)
            if self.kind == "cosine":
                done = (step - warmup) / max(total - warmup, 1)
                return 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(done, 0, 1)))
            if self.kind == "cyclic":
                done = step / total
                rise, fall = done / max(self.peak, 1e-9), (1 - done) / (1 - self.peak)
                return jnp.clip(jnp.minimum(rise, fall), 0, 1)
            return 1.0

        def rate_at(step):
            rise = jnp.minimum(1.0, (step + 1) / warmup) if warmup else 1.0
            return rate * shape(step) * rise

        return rate_at


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """SGD, Adam or AdamW, with clipping and weight decay as in PyTorch.

    The gradient, averaged over all devices, is clipped, then gets the L2 term
    `weight_decay * parameter` (for "adamw" the decay is decoupled from it:
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019), then
    enters the momentum; the learning rate multiplies last.

    Attributes:
      kind: "sgd", "adam" or "adamw".
      learning_rate: the schedule's maximum.
      momentum: of "sgd".
      nesterov: of "sgd".
      b1: decay of Adam's first moment.
      b2: decay of Adam's second moment.
      eps: added to the root of Adam's second moment.
      weight_decay: factor of the L2 term.
      decay_all: also decay biases and normalization parameters, as the papers do.
      clip_value: largest magnitude of a gradient's entry; None for no limit.
      clip_norm: largest l2 norm of the whole gradient; None for no limit.
      restart: whether the moments begin anew wherever the schedule's "steps" drop, as
        where code makes a new optimizer for each phase.
      rate_factors: "MODULE=FACTOR" multiplies the learning rate of the parameters of a
        module of the network, as "head=10" or "stage1_block1/conv1=0.1"; the first that
        fits counts, and an empty module fits all. With 0 they are frozen; their batch
        normalization goes on averaging.
    """

    kind: str = specs.given("sgd", choices=OPTIMIZERS)
    learning_rate: float = specs.static(0.1, minimum=0.0)
    momentum: float = specs.static(0.9, minimum=0.0, maximum=1.0)
    nesterov: bool = specs.static(False)
    b1: float = specs.static(0.9, minimum=0.0, maximum=1.0)
    b2: float = specs.static(0.999, minimum=0.0, maximum=1.0)
    eps: float = specs.static(1e-8, minimum=0.0)
    weight_decay: float = specs.static(0.0, minimum=0.0)
    decay_all: bool = specs.static(True)
    clip_value: float | None = specs.static(None, minimum=0.0)
    clip_norm: float | None = specs.static(None, minimum=0.0)
    restart: bool = specs.static(False)
    rate_factors: tuple[str, ...] = ()

    def __post_init__(self):
        specs.check(self)
        _factors(self.rate_factors)

    def make(
        self, rate: Callable | float, drops: Sequence[float] = (), noise: str = ""
    ) -> optax.GradientTransformation:
        """The optax transformation of a training.

        Args:
          rate: made by `Schedule.make`.
          drops: `Schedule.drops`, at which the moments begin anew with `restart`.
          noise: the subtree of the params that says how strong a network's noise is.
            It is searched apart, without weight decay and with a gradient norm of its
            own to clip; "" for none.
        """
        steps: list[Any] = self._steps(rate, self.weight_decay, drops)
        if noise:
            apart: dict[Any, Any] = {
                WEIGHTS: optax.chain(*steps),
                NOISE: optax.chain(*self._steps(rate, 0.0, drops)),
            }
            steps: list[Any] = [
                optax.partition(apart, lambda params: _parts(params, noise))
            ]
        if factors := _factors(self.rate_factors):
            steps.append(_scale_by_module(factors))
        return optax.chain(*steps)

    def _steps(self, rate, weight_decay, drops) -> list[Any]:
        decay = optax.identity()
        if weight_decay:
            mask = None if self.decay_all else _is_weight
            decay = optax.add_decayed_weights(weight_decay, mask)
        if self.kind == "sgd":
            search = [decay]
            if self.momentum:
                search += [optax.trace(self.momentum, self.nesterov)]
        else:
            search = [optax.scale_by_adam(self.b1, self.b2, self.eps)]
            search.insert(1 if self.kind == "adamw" else 0, decay)
        clips = []
        if self.clip_value is not None:
            clips.append(optax.clip(self.clip_value))
        if self.clip_norm is not None:
            clips.append(optax.clip_by_global_norm(self.clip_norm))
        moments = [*clips, *search]
        if self.restart:  # without a drop too, so that a schedule may be changed
            moments = [_restarted(optax.chain(*moments), drops)]
        return [*moments, optax.scale_by_learning_rate(rate)]


def noise_step(
    optimizer: optax.GradientTransformation,
    grads: Any,
    state: Any,
    params: Any,
    noise: str,
) -> tuple[Any, Any]:
    """(params, optimizer state) after a step of the noise's params alone.

    Moments of the noise move; those of the weights, and all counts of steps, do not.

    Args:
      optimizer: made by `Optimizer.make` with this `noise`.
      grads: in all params; those of the weights are not used.
      state: of the optimizer.
      params: of the network.
      noise: the subtree of the noise's params.
    """
    updates, after = optimizer.update(grads, state, params)

    def is_split(node):
        return isinstance(node, optax.transforms.PartitionState)

    def moved(old, new):
        if not is_split(old):
            return old
        inner = jax.tree.map(
            lambda a, b: b if jnp.issubdtype(b.dtype, jnp.floating) else a,
            old.inner_states[NOISE],
            new.inner_states[NOISE],
        )
        return old._replace(inner_states={**old.inner_states, NOISE: inner})

    state = jax.tree.map(moved, state, after, is_leaf=is_split)
    updates: Any = updates
    own = optax.apply_updates(params[noise], updates[noise])
    return {**params, noise: own}, state


def _parts(params, noise):
    """Which part each subtree of the params belongs to."""
    return {name: NOISE if name == noise else WEIGHTS for name in params}


def _restarted(search, drops):
    """`search` whose state is again what it was at first, at each of these steps."""
    drops = np.ceil(drops).astype(np.int32)  # a rate falls at the first step beyond

    def init(params):
        return jnp.zeros((), jnp.int32), search.init(params)

    def update(updates, state, params=None):
        count, inner = state
        again = jnp.any(count == drops)
        inner = jax.tree.map(
            lambda new, old: jnp.where(again, new, old), search.init(updates), inner
        )
        updates, inner = search.update(updates, inner, params)
        return updates, (count + 1, inner)

    return optax.GradientTransformation(init, update)


def _factors(texts) -> dict[str, float]:
    """Module -> factor, of texts "MODULE=FACTOR"."""
    found = {}
    for text in texts:
        module, _, factor = str(text).rpartition("=")
        try:
            value = float(hints.number(factor))
        except ValueError:
            value = -1.0
        if "=" not in str(text) or not 0 <= value < math.inf:
            raise specs.UsageError(
                f"Optimizer.rate_factors has {text!r}; give MODULE=FACTOR with a "
                "factor of at least 0, as 'head=10'"
            )
        found.setdefault(module.strip("/"), value)
    return found


def _scale_by_module(factors: dict[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of modules; the first that fits counts."""

    def factor(path):
        name = "/".join(str(part.key) for part in path)
        inside = (
            f for m, f in factors.items() if not m or f"{name}/".startswith(f"{m}/")
        )
        return next(inside, 1.0)

    def init(params):
        leaves, _ = jax.tree_util.tree_flatten_with_path(params)
        names = ["/".join(str(part.key) for part in path) for path, _ in leaves]
        for module in factors:
            if module and not any(f"{n}/".startswith(f"{module}/") for n in names):
                known = ", ".join(dict.fromkeys(name.split("/")[0] for name in names))
                raise specs.UsageError(
                    f"config.optimizer.rate_factors: the network has no module "
                    f"{module!r}; modules: {known}"
                )
        return optax.EmptyState()

    def update(updates, state, params=None):
        def scaled(path, leaf):
            by = factor(path)
            return jnp.zeros_like(leaf) if by == 0 else leaf if by == 1 else by * leaf

        return jax.tree_util.tree_map_with_path(scaled, updates), state

    return optax.GradientTransformation(init, update)


def _is_weight(params: Any) -> Any:
    """True for kernels: biases and normalization parameters have one axis."""
    return jax.tree.map(lambda p: p.ndim > 1, params)
