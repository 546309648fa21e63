"""Learning-rate schedules and optimizers, from the fields of a config."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxadv import specs

SCHEDULES = ("constant", "steps", "cosine", "cyclic")
OPTIMIZERS = ("sgd", "adam", "adamw")


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

    def make(self, rate: float, epochs: int, steps_per_epoch: int) -> Callable:
        """`step -> learning rate`, traced or not, with the maximum `rate`."""
        total = epochs * steps_per_epoch
        warmup = self.warmup_epochs * steps_per_epoch

        def shape(step):
            if self.kind == "steps":
                drops = jnp.asarray(self.drop_epochs) * steps_per_epoch
                return self.drop_factor ** jnp.sum(step >= drops)
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

    __post_init__ = specs.check

    def make(self, rate: Callable | float) -> optax.GradientTransformation:
        """The optax transformation under a schedule made by `Schedule.make`."""
        decay = optax.identity()
        if self.weight_decay:
            mask = None if self.decay_all else _is_weight
            decay = optax.add_decayed_weights(self.weight_decay, mask)
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
        return optax.chain(*clips, *search, optax.scale_by_learning_rate(rate))


def _is_weight(params: Any) -> Any:
    """True for kernels: biases and normalization parameters have one axis."""
    return jax.tree.map(lambda p: p.ndim > 1, params)
