"""Objectives that aim at one class."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import arrays, specs, struct
from jaxadv.numerics import streams
from jaxadv.objectives.base import score
from jaxadv.objectives.losses import (
    cross_entropy,
    margin,
    soft_margin,
    targeted_dlr,
)


def _target(target, logits):
    """`target`, which is the index of a logit where that is known.

    Raises:
      UsageError: it is none; indexing would clamp it to the last.
    """
    known = arrays.concrete(target)
    if known is not None:
        arrays.check_classes(known, logits.shape[0], None, "target")
    return target


@struct.dataclass
class TargetedCrossEntropy:
    """Minus the cross-entropy to `target` (a class index), in nats.

    Attributes:
      target: the class that is aimed at.
    """

    target: int = specs.class_index()

    __post_init__ = specs.check

    def goal(self, logits: jax.Array, label: Any) -> jax.Array:
        return -margin(logits, self.target)

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        logits = model(image, key)
        return -cross_entropy(logits, _target(self.target, logits))

    def score(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        logits = model(image, key)
        return -soft_margin(logits, _target(self.target, logits))


@struct.dataclass
class TargetedMargin:
    """The target's logit minus the largest other one, flat beyond `kappa`.

    Source: as `Margin`.

    Attributes:
      target: the class that is aimed at.
      kappa: from where on it is flat, in units of the logits.
    """

    target: int = specs.class_index()
    kappa: float = specs.leaf(float("inf"), minimum=0.0, infinite=True)

    __post_init__ = specs.check

    def goal(self, logits: jax.Array, label: Any) -> jax.Array:
        return -margin(logits, self.target)

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        logits = model(image, key)
        return jnp.minimum(-margin(logits, _target(self.target, logits)), self.kappa)


@struct.dataclass
class TargetedDLR:
    """Difference-of-logits ratio towards `target`; see `targeted_dlr`.

    Attributes:
      target: the class that is aimed at.
    """

    target: int = specs.class_index()

    __post_init__ = specs.check

    def goal(self, logits: jax.Array, label: Any) -> jax.Array:
        return -margin(logits, self.target)

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        logits = model(image, key)
        return targeted_dlr(logits, label, _target(self.target, logits))


_TARGETED = {
    "cross_entropy": TargetedCrossEntropy,
    "dlr": TargetedDLR,
    "margin": TargetedMargin,
}


@struct.dataclass
class LikelyTarget:
    """Aims at one wrong class in each restart, the likeliest first.

    Restart r of an attack aims at the class with the (r + 1)-th largest wrong logit
    of the clean image, from the first again where there are fewer; a logit of -inf is
    no class. Any wrong class is a success. Source: Croce and Hein, "Reliable
    evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks", 2020, section 4.

    Attributes:
      loss: which targeted objective is made larger.
      rank: 0 for the likeliest; set by the driver.
      target: the class; set by `bind`.
    """

    loss: str = specs.static("dlr", choices=tuple(_TARGETED))
    rank: Any = specs.bound()
    target: Any = specs.bound()

    __post_init__ = specs.check
    goal = staticmethod(margin)

    def restarted(self, restart: Any) -> Any:
        return self.replace(rank=restart)  # type: ignore[attr-defined]

    def bind(self, model: Any, image: jax.Array, label: Any, key: Any = None) -> Any:
        logits = jax.lax.stop_gradient(model(image, key))
        wrong = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
        order = jnp.argsort(-wrong)
        rank = 0 if self.rank is None else self.rank
        target = order[rank % jnp.maximum(jnp.sum(wrong > -jnp.inf), 1)]
        return self.replace(target=target)  # type: ignore[attr-defined]

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        return _TARGETED[self.loss](self.target)(model, image, label, key)

    def score(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        return score(_TARGETED[self.loss](self.target), model, image, label, key)


@struct.dataclass
class RandomTarget:
    """Aims at one wrong class, each with the same chance; any one is a success.

    Left out are classes that have a logit of -inf at the clean image. Source: Kang et
    al., "Testing robustness against unforeseen adversaries", 2019, section 4.

    Attributes:
      loss: which targeted objective is made larger.
      target: the class; set by `bind`.
    """

    loss: str = specs.static("cross_entropy", choices=tuple(_TARGETED))
    target: Any = specs.bound()

    __post_init__ = specs.check
    goal = staticmethod(margin)

    def bind(self, model: Any, image: jax.Array, label: Any, key: jax.Array) -> Any:
        noise = streams.stream(key, "network")
        logits = jax.lax.stop_gradient(model(image, noise))
        classes = logits.shape[0]
        wrong = (label + jnp.arange(1, classes)) % classes
        order = jnp.cumsum(logits[wrong] != -jnp.inf)  # of those that can win
        further = jax.random.randint(key, (), 1, jnp.maximum(order[-1], 1) + 1)
        return self.replace(target=wrong[jnp.argmax(order == further)])  # type: ignore

    __call__, score = LikelyTarget.__call__, LikelyTarget.score
