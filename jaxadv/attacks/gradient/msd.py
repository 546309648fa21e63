"""Multi steepest descent: in each step the best of several norms."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.attacks import base
from jaxadv.objectives import OBJECTIVES, CrossEntropy, check_start, score
from jaxadv.threats import L1, L2, THREATS, Linf, Union


@struct.dataclass
class Highest:
    """The point where the objective is largest so far, broken or not.

    Attributes:
      params: [h, w, c].
      value: [] the objective there.
    """

    params: jax.Array
    value: jax.Array


@struct.dataclass
class Msd:
    """Of one gradient a step in each ball, all from one point; the best is kept.

    Each candidate is projected exactly onto its own ball and the box, and the one where
    the objective is largest is the next point, also where it is smaller than before.
    The point of largest objective of all steps is returned, or the image itself. The
    search starts at the image. A step takes one gradient and one forward pass of each
    candidate. Source: Maini, Wong and Kolter, "Adversarial robustness against the union
    of multiple perturbation models", 2020, algorithm 1.

    The sparse l1 step moves the share `fraction` of the channels that the L1 ball
    names; the source draws between 5 and 20 channels, and its code projects points
    inside the l1 ball onto its surface as well.

    Attributes:
      threat: a `Union` of balls; linf 0.03, l2 0.5 and l1 12 are the source's on
        CIFAR-10.
      objective: what to make larger.
      steps: of 50 each in the source's training on CIFAR-10.
      step_sizes: the length of a step in each ball's own norm, in the order of the
        balls, or None; 0.003, 0.05 and 1.0 in the source.
      rel_step_size: the same as a fraction of each ball's eps; exactly one is given.
      restarts: the same search again where the objective draws; else it gains nothing.
    """

    threat: Any = specs.part(
        lambda: THREATS, Union((Linf(0.03), L2(0.5), L1(12.0, fraction=0.004)))
    )
    objective: Any = specs.part(lambda: OBJECTIVES, CrossEntropy())
    steps: int = specs.static(50, minimum=1)
    step_sizes: tuple[float, ...] | None = specs.leaf(
        None, minimum=0.0, replaces="rel_step_size"
    )
    rel_step_size: float | None = specs.leaf(0.1, minimum=0.0, replaces="step_sizes")
    restarts: int = specs.static(1, minimum=1)

    def __post_init__(self):
        specs.check(self)
        base.check_threat(self, Union)
        check_start(self, "take another objective")
        if (self.step_sizes is None) == (self.rel_step_size is None):
            raise specs.UsageError(
                "Msd: give exactly one of step_sizes and rel_step_size"
            )
        parts = getattr(self.threat, "parts", None)
        given = self.step_sizes
        if isinstance(parts, tuple) and isinstance(given, tuple):
            if len(given) != len(parts):
                raise specs.UsageError(
                    f"Msd.step_sizes has {len(given)} numbers; the union has "
                    f"{len(parts)} balls: give one for each"
                )

    @property
    def passes(self) -> tuple[int, int]:
        """A step's forward passes, one of each candidate beside the gradient's."""
        return 1 + len(self.threat.parts), 1

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        zero = jnp.zeros_like(image)
        own = Highest(zero, jnp.full((), -jnp.inf))
        return base.begin(key, zero, own=own)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)

        def value(params):
            here = self.threat.apply(params, image)
            return score(self.objective, model, here, label, key)

        found, grad = jax.value_and_grad(value)(state.params)
        highest = _higher(state.own, state.params, found)
        grad = jnp.where(jnp.isfinite(grad), grad, 0.0)
        points = self.candidates(grad, state.params, image)
        values = jax.vmap(value)(points)
        # A NaN is never chosen, and never kept.
        values = jnp.where(jnp.isnan(values), -jnp.inf, values)
        chosen = jnp.argmax(values)
        params = points[chosen]
        return state.after(params, own=_higher(highest, params, values[chosen]))

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.own.params

    def candidates(self, grad: Any, params: Any, image: jax.Array) -> jax.Array:
        """[balls, h, w, c]: a step from `params` in each ball, back in that ball."""
        sizes = self.step_sizes
        if sizes is None:
            sizes = [self.rel_step_size * part.budget for part in self.threat.scaled]
        return jnp.stack(
            [
                part.project(params + size * part.direction(grad, params, image), image)
                for part, size in zip(self.threat.scaled, sizes, strict=True)
            ]
        )


def _higher(highest, params, value):
    better = value > highest.value
    return Highest(
        jnp.where(better, params, highest.params),
        jnp.where(better, value, highest.value),
    )
