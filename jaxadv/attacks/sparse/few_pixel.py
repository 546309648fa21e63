"""A few pixels of any color, found by differential evolution; uses no gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.attacks import base
from jaxadv.numerics import streams
from jaxadv.objectives import OBJECTIVES, CrossEntropy, goal_at, score
from jaxadv.threats import L0, THREATS

LEVELS = 256  # of a color


@struct.dataclass
class Population:
    """Candidates and what they cost; the best one stands in slot 0 too.

    Attributes:
      genes: [p, …], within [0, 1].
      costs: [p].
    """

    genes: jax.Array
    costs: jax.Array


def evolve(
    key: jax.Array,
    population: Population,
    evaluate: Callable[[jax.Array], jax.Array],
    first: Any = False,
) -> Population:
    """One generation of differential evolution, "best1bin" without crossover.

    A trial is the best candidate and F times the difference of two others, F being
    drawn from [0.5, 1) for the whole generation; a gene that leaves [0, 1] is drawn
    anew. It takes the place of its own candidate where it costs less, and of the best
    one where it costs less than that. All trials are of the population before. Source:
    Storn and Price, "Differential evolution", 1997, in the form of the public code with
    which Jeddi et al., "Learn2Perturb", 2020, attack.

    Args:
      key: of the generation.
      population: of at least 4.
      evaluate: genes [p, …] to their costs [p].
      first: only evaluate the genes that there are.
    """
    genes, size = population.genes, len(population.genes)
    own, others, scale, again = jax.random.split(key, 4)
    u = jax.random.randint(own, (size,), 1, size)
    v = jax.random.randint(others, (size,), 1, size - 1)
    here = jnp.arange(size)
    one, other = (here + u) % size, (here + v + (v >= u)) % size
    factor = jax.random.uniform(scale, minval=0.5, maxval=1.0)
    trials = genes[0] + factor * (genes[one] - genes[other])
    inside = (trials >= 0) & (trials <= 1)
    trials = jnp.where(inside, trials, jax.random.uniform(again, trials.shape))
    trials = jnp.where(first, genes, trials)
    costs = evaluate(trials)
    better = costs < population.costs
    kept = Population(
        jnp.where(better.reshape(-1, *[1] * (genes.ndim - 1)), trials, genes),
        jnp.where(better, costs, population.costs),
    )
    best = jnp.argmin(jnp.where(jnp.isnan(costs), jnp.inf, costs))
    leads = costs[best] < kept.costs[0]
    return Population(
        kept.genes.at[0].set(jnp.where(leads, trials[best], kept.genes[0])),
        kept.costs.at[0].set(jnp.where(leads, costs[best], kept.costs[0])),
    )


@struct.dataclass
class FewPixel:
    """Overwrites a few pixels, whose places and colors differential evolution finds.

    A candidate is `pixels` pixels, each of a row, a column and a color of 256 levels a
    channel. As many of them count as the budget allows, so budgets share one program.
    Two may lie at one place. A step is a generation, the first of which is the
    initial population: rows and columns uniform, colors normal about the middle with a
    deviation of half the range, clipped. So 76 steps are the 75 generations of
    Learn2Perturb and their initial population, of 400 candidates each. All candidates
    of a generation share the network's random draw, and a candidate keeps the cost of
    the draw that it was evaluated by: attack random networks by
    `Expectation(CrossEntropy())`, and let the evaluation judge by several `draws`.
    Source: Su, Vargas and Sakurai, "One pixel attack for fooling deep neural networks",
    2019; see `evolve`.

    Attributes:
      threat: an l0 ball; where it counts channels, as many pixels as have no more.
      objective: what to make larger; the cross-entropy orders candidates as the
        label's probability does.
      pixels: of a candidate.
      population: candidates of a generation.
      steps: generations, the initial population being the first.
      restarts: independent populations.
      chunk: candidates that are evaluated at once, for each image.
      early_stop: stop at the first generation whose best candidate is broken.

    Raises:
      UsageError: another threat.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, CrossEntropy())
    pixels: int = specs.static(3, minimum=1)
    population: int = specs.static(400, minimum=4)
    steps: int = specs.static(76, minimum=1)
    restarts: int = specs.static(1, minimum=1)
    chunk: int = specs.static(50, minimum=1)
    early_stop: bool = specs.static(True)

    def __post_init__(self):
        specs.check(self)
        base.check_threat(self, L0)

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes of a step: the candidates, and the best again."""
        return self.population + 1, 0

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key, places, colors = jax.random.split(key, 3)
        shape = self.population, self.pixels
        place = jax.random.uniform(places, (*shape, 2))
        color = 0.5 + 0.5 * jax.random.normal(colors, (*shape, image.shape[-1]))
        genes = jnp.concatenate([place, jnp.clip(color, 0.0, 1.0)], axis=-1)
        costs = jnp.full(self.population, jnp.inf)
        zero = jnp.zeros_like(image)
        own = Population(genes, costs)
        return base.begin(key, zero, best=base.Best.none(zero), own=own)

    def step(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> base.State:
        key = jax.random.fold_in(state.key, state.count)
        noise = streams.stream(key, "network")

        def cost(genes):
            here = self.threat.apply(self._change(genes, image), image)
            return -score(self.objective, model, here, label, noise)

        def evaluate(genes):
            return jax.lax.map(cost, genes, batch_size=min(self.chunk, len(genes)))

        found = evolve(key, state.own, evaluate, first=state.count == 0)
        params = self._change(found.genes[0], image)
        here = self.threat.apply(params, image)
        goal = goal_at(self.objective, model, here, label, noise)
        best = state.best.update(params, goal)
        return state.after(params, best=best, own=found, stop=self.early_stop)

    def finish(
        self, state: base.State, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return state.best.or_last(state.params)

    def _change(self, genes, image):
        """What a candidate's pixels [k, 2 + c] add to the image."""
        height, width, channels = image.shape
        allowed = self.threat.eps / (1 if self.threat.pixels else channels)

        def whole(gene, count):
            return jnp.minimum(jnp.floor(gene * count), count - 1)

        changed = jnp.asarray(image)
        for number, gene in enumerate(genes):
            row, column = (
                whole(gene[axis], size).astype(jnp.int32)
                for axis, size in ((0, height), (1, width))
            )
            color = whole(gene[2:], LEVELS) / (LEVELS - 1)
            color = jnp.where(number + 1 <= allowed, color, changed[row, column])
            changed = changed.at[row, column].set(color)
        return changed - image
