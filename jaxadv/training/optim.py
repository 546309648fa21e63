"""Learning-rate schedules and optimizers, from the fields of a config."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxadv import hints, specs

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
    rate_factors: tuple[str, ...] = ()

    def __post_init__(self):
        specs.check(self)
        _factors(self.rate_factors)

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
        scaled = [optax.scale_by_learning_rate(rate)]
        if factors := _factors(self.rate_factors):
            scaled.append(_scale_by_module(factors))
        return optax.chain(*clips, *search, *scaled)


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
