"""MinMax: one perturbation against the worst of several domains."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, protocols, specs, struct
from jaxadv.attacks import base
from jaxadv.objectives import OBJECTIVES, Margin, check_start, domains
from jaxadv.threats import THREATS

_SPREAD = 0.1  # standard deviation of the normal start, in [0, 1] units


@struct.dataclass
class Weights:
    """The domains' weights: [K] now, and [steps, K] those of every step."""

    now: jax.Array
    history: jax.Array


@struct.dataclass
class MinMax:
    """Alternating gradient steps of the perturbation and of the domains' weights.

    The perturbation goes up the gradient itself, neither its sign nor normalized, of
    the weighted objectives; then the weights go down them, towards the domains that
    hold out. Success is that all domains are broken. Source: Wang, Zhang, Liu, Chen,
    Xu, Fardad and Li, "Adversarial Attack Generation Empowered by Min-Max
    Optimization", 2021, algorithm 1 (APGD), whose F is minus the objective. The
    default `step_size`, `weight_step_size` and `gamma` are those of its linf attack
    on MNIST, table 1. A step takes one forward and one backward pass of each domain:
    the losses that move the weights are those that the next gradient comes from.

    Attributes:
      threat: where to look; a `Shared` one for a universal perturbation.
      objective: a `Weighted` over the domains; its weights are the first ones. That
        of the source has targets="prediction"; its clipped loss with threshold 40 is
        a Margin(10).
      steps: gradient steps of one restart.
      step_size: change of the perturbation per unit of gradient; the source's alpha.
      weight_step_size: change of a weight per unit of loss; the source's beta. At most
        1 / gamma of it is taken; see `domains.ascend`.
      gamma: strength of the pull to equal weights; the average case where it is large.
      fixed: keep the first weights, for the average case or any static weighting.
      start: where to start: "normal" is the projection of a draw with standard
        deviation 0.1, as in the source, "zero" the image, "random" the threat's own.
      keep: "best" returns the point where most is broken in the least broken domain,
        or the last one where none breaks all; "last" the last one, as the source does.
      restarts: independent starts; the first success is kept.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(
        lambda: OBJECTIVES, domains.Weighted(objective=Margin(50.0))
    )
    steps: int = specs.static(50, minimum=1)
    step_size: float = specs.leaf(1 / 4, minimum=0.0)
    weight_step_size: float = specs.leaf(1 / 50, minimum=0.0)
    gamma: float = specs.leaf(3.0, minimum=0.0)
    fixed: bool = specs.static(False)
    start: str = specs.static("normal", choices=("normal", "zero", "random"))
    keep: str = specs.static("best", choices=("best", "last"))
    restarts: int = specs.static(1, minimum=1)

    def __post_init__(self):
        specs.check(self)
        given = self.objective
        if dataclasses.is_dataclass(given) and not protocols.has_losses(given):
            raise specs.UsageError(
                f"MinMax.objective is a {type(given).__name__}, which has one loss; "
                "take a Weighted over the domains"
            )
        if self.start == "zero":
            check_start(self, "set start to 'normal' or 'random'")

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key, start = jax.random.split(key)
        params = self._start(start, image)
        weights = self.objective.initial(model, image)
        own = Weights(weights, jnp.tile(weights, (self.steps, 1)))
        return base.begin(key, params, best=base.Best.none(params), own=own)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)

        def losses(params):
            here = self.threat.apply(params, image)
            return self.objective.losses(model, here, label, key)

        found, pull_back = jax.vjp(losses, state.params)
        weights = self._weights(state, found)
        (grad,) = pull_back(weights.astype(found.dtype))
        best = state.best
        if self.keep == "best":
            here = self.threat.apply(state.params, image)
            goal = self.objective.goal_at(model, here, label, key)
            best = best.update(state.params, goal)
        params = jax.tree.map(
            lambda p, g: p + self.step_size * numerics.finite_or_zero(g),
            state.params,
            grad,
        )
        own = Weights(weights, state.own.history.at[state.count].set(weights))
        return state.after(self.threat.project(params, image), best=best, own=own)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        if self.keep == "last":
            return state.params
        return state.best.or_last(state.params)

    def trace(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> jax.Array:
        """[steps + 1, K] the weights from the first to those at the last point."""
        key = jax.random.fold_in(state.key, state.count)
        here = self.threat.apply(state.params, image)
        losses = self.objective.losses(model, here, label, key)
        return jnp.concatenate([state.own.history, self._weights(state, losses)[None]])

    def _weights(self, state, losses):
        """The weights at `state.params`, whose own losses move them."""
        if self.fixed:
            return state.own.now
        moved = domains.ascend(
            state.own.now, -losses, self.weight_step_size, self.gamma
        )
        return jnp.where(state.count == 0, state.own.now, moved)

    def _start(self, key, image):
        if self.start == "normal":
            return base.normal_start(self.threat, key, image, _SPREAD)
        params = self.threat.init(key, image)
        if self.start == "zero":
            params = jax.tree.map(jnp.zeros_like, params)
        return params
