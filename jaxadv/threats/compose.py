"""Several threats one after another."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import protocols, specs, struct, threats


@struct.dataclass
class Composed:
    """Each part perturbs what the one before it made of the image.

    Parameters and `budget` are tuples with an entry a part. A part's `size`, steps
    and projection are those of its own threat around its own input image; `size` is
    relative: the largest share that a part uses of its own eps. Source: Laidlaw and
    Feizi, "Functional adversarial attacks", 2019, section 5 (flow, then color, then
    pixels).

    Attributes:
      parts: threats, in the order in which they are applied.
      eps: the share of all the parts' budgets that is allowed.

    Raises:
      UsageError: there is no part, or one that cannot follow another.
    """

    parts: Any = specs.part(lambda: threats.THREATS)
    eps: float = specs.leaf(1.0, minimum=0.0)

    def __post_init__(self):
        specs.check(self)
        if not isinstance(self.parts, (tuple, list)) or not self.parts:
            raise specs.UsageError(
                f"Composed.parts is {self.parts!r}; it must be a list of threats"
            )
        for part in self.parts:
            if protocols.is_bound(part):
                raise specs.UsageError(
                    f"Composed.parts has a {type(part).__name__}, which is bound to "
                    "the clean image; take threats of the image they are given"
                )
            if dataclasses.is_dataclass(part) and not _has_eps(part):
                raise specs.UsageError(
                    f"Composed.parts has a {type(part).__name__}, which has no eps of "
                    "its own to be shared out; take the threat that is inside it"
                )

    @property
    def scaled(self) -> tuple[Any, ...]:
        """The parts with the budgets that are allowed."""
        return tuple(part.replace(eps=self.eps * part.eps) for part in self.parts)

    @property
    def budget(self) -> Any:
        return tuple(part.budget for part in self.scaled)

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        params = []
        for part in self.scaled:
            key, own = jax.random.split(key)
            params.append(part.init(own, image))
            image = part.apply(params[-1], image)
        return tuple(params)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        for part, own in zip(self.scaled, params, strict=True):
            image = part.apply(own, image)
        return image

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        moves = []
        for part, own_grad, own in zip(self.scaled, grad, params, strict=True):
            moves.append(part.direction(own_grad, own, image))
            image = part.apply(own, image)
        return tuple(moves)

    def project(self, params: Any, image: jax.Array) -> Any:
        projected = []
        for part, own in zip(self.scaled, params, strict=True):
            projected.append(part.project(own, image))
            image = part.apply(projected[-1], image)
        return tuple(projected)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        largest = jnp.zeros(())
        for part, own in zip(self.parts, params, strict=True):
            size, whole = part.size(own, image), jnp.asarray(part.eps)
            share = jnp.where(whole > 0, size / jnp.where(whole > 0, whole, 1), jnp.inf)
            largest = jnp.maximum(largest, jnp.where(size > 0, share, 0.0))
            image = part.apply(own, image)
        return largest


def _has_eps(part):
    return any(field.name == "eps" for field in dataclasses.fields(part))
