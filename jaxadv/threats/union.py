"""Several lp balls around one image: a point of any of them will do."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, protocols, specs, struct
from jaxadv.plugins import Registry
from jaxadv.threats import lp

_BALLS = Registry("balls", {"l1": lp.L1, "l2": lp.L2, "linf": lp.Linf})


@struct.dataclass
class Union:
    """The perturbations that are in at least one of several lp balls.

    Parameters are one perturbation, [h, w, c]. `size` is relative: the smallest share
    of a ball's own eps that holds it, so that 1 is the surface of the union. Its unit
    of length in a direction is therefore that of the ball that reaches furthest.
    Source: Maini, Wong and Kolter, "Adversarial robustness against the union of
    multiple perturbation models", 2020, section 4.

    Attributes:
      parts: the balls: linf, l2 or l1, each with its eps.
      eps: the share of all the balls' own eps that is allowed.

    Raises:
      UsageError: there is no part, or one that is no such ball.
    """

    parts: Any = specs.part(lambda: _BALLS)
    eps: float = specs.leaf(1.0, minimum=0.0)

    def __post_init__(self):
        specs.check(self)
        if not isinstance(self.parts, (tuple, list)) or not self.parts:
            raise specs.UsageError(
                f"Union.parts is {self.parts!r}; it must be a list of lp balls"
            )
        for part in self.parts:
            # jax rebuilds objects around placeholders, which are no dataclasses.
            if dataclasses.is_dataclass(part) and protocols.norm(part) not in _BALLS:
                raise specs.UsageError(
                    f"Union.parts has a {type(part).__name__}; a union is of balls: "
                    f"{', '.join(_BALLS)}"
                )

    @property
    def scaled(self) -> tuple[Any, ...]:
        """The balls with the budgets that are allowed."""
        return tuple(part.replace(eps=self.eps * part.eps) for part in self.parts)

    @property
    def budget(self) -> Any:
        return self.eps

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        """A random point of a ball that is drawn."""
        which, own = jax.random.split(key)
        starts = jnp.stack([part.init(own, image) for part in self.scaled])
        return starts[jax.random.randint(which, (), 0, len(self.parts))]

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        return lp.apply(params, image)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        """Of the step of size 1 in each ball, the one along which `grad` gains most."""
        moves = [p.eps * p.direction(grad, params, image) for p in self.parts]
        return _best(moves, [_gain(grad, move) for move in moves])

    def maximize(self, grad: Any, image: jax.Array) -> Any:
        points = [part.maximize(grad, image) for part in self.scaled]
        return _best(points, [_gain(grad, point) for point in points])

    def project(self, params: Any, image: jax.Array) -> Any:
        """The nearest, in l2, of the balls' exact projections."""
        points = [part.project(params, image) for part in self.scaled]
        near = [-numerics.safe_norm(point - params, "l2") for point in points]
        return _best(points, near)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return self.distance(image, self.apply(params, image))

    def distance(self, image: jax.Array, other: jax.Array) -> jax.Array:
        shares = [_share(part, other - image) for part in self.parts]
        return jnp.min(jnp.stack(shares))


def _share(part, change):
    """Norm over eps, with 0 / 0 as 0: nothing of an empty ball is used."""
    size, eps = numerics.safe_norm(change, part.norm), jnp.asarray(part.eps)
    share = jnp.where(eps > 0, size / jnp.where(eps > 0, eps, 1.0), jnp.inf)
    return jnp.where(size > 0, share, 0.0)


def _gain(grad, move):
    return numerics.dot(numerics.finite_or_zero(grad), move)


def _best(points, values):
    """The point of largest value, the first of equal ones."""
    return jnp.stack(points)[jnp.argmax(jnp.stack(values))]
