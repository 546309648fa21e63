"""Generalized adversarial training: several types of attack, weighed by their loss."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.craft import joint
from jaxadv.defenses import base
from jaxadv.numerics import streams
from jaxadv.objectives import domains


@struct.dataclass
class Generalized:
    """The worst weighted sum of the losses under K types of attack (AMPGD).

    For one example, with f_i the cross-entropy of the image that attack i perturbs:

      max over w in the simplex and all perturbations of
        sum_i w_i f_i - gamma / 2 |w - 1/K|^2 + diversity * h

    is searched by the attacks' number of joint projected steps, in which the weights
    move by the losses before the step. The network is then trained, in one
    forward pass in train mode, on `alpha` times the clean loss plus `beta` times
    sum_i w_i f_i + diversity * h. Source: Wang et al., "Towards a unified min-max
    framework for adversarial exploration and robustness" (later "Adversarial attack
    generation empowered by min-max optimization"), 2019, eqs. 15 to 17 and algorithm
    2. Theirs also starts the perturbations where they ended; here each step of
    training starts them anew, as the attacks say.

    h, the diversity-promoting regularizer (DPAR), is log det(G'G + 1e-6 I), G having
    the input gradients of the f_i, divided by their l2 lengths, as columns: 0 where
    they are orthogonal. It is taken of the network in evaluation mode, and here alone
    a gradient of the weights comes from a crafted image: through the network's input
    gradient there, the image itself being fixed.

    The metrics `weight_0`, … and `accuracy_0`, … are those of the attacks in order
    (in a config: by label); `robust_accuracy` is that under each example's largest
    loss. An example's weights after its last visit are a row of the state's memory.

    Attributes:
      attacks: PGD in one threat each, all of the same number of steps; their
        objectives are replaced by the cross-entropy.
      weighting: "min_max", or "average" for w = 1/K.
      share: whether each "example" has its own w, or all of a "batch" one, which
        then moves by the mean losses.
      warm_start: begin with the w that the last visit to the example (or the last
        batch) ended with, instead of 1/K.
      weight_step: step size of w, in weight per nat of loss; see `domains.ascend`.
      gamma: strength of the pull to w = 1/K.
      gradient: "steepest" moves by the threat's steepest direction of
        f_i / K + diversity * h: that of the sum at equal weights, so that a type
        without weight goes on searching. "raw", as in the source, moves by
        `step_size` times the gradient of the weighted sum itself.
      diversity: weight of h; the source's lambda, 0.1. 0 turns it off.
      alpha: weight of the clean loss.
      beta: weight of the attacked images' loss; the source's ratio 1 of adversarial
        to benign is 0.5 and 0.5.
    """

    attacks: Any = specs.given()
    weighting: str = specs.static("min_max", choices=("min_max", "average"))
    share: str = specs.static("example", choices=("example", "batch"))
    warm_start: bool = specs.static(True)
    weight_step: float = specs.static(0.02, minimum=0.0)
    gamma: float = specs.static(4.0, minimum=0.0)
    gradient: str = specs.static("steepest", choices=("steepest", "raw"))
    diversity: float = specs.static(0.0, minimum=0.0)
    alpha: float = specs.static(0.5, minimum=0.0)
    beta: float = specs.static(0.5, minimum=0.0)

    def __post_init__(self):
        specs.check(self)
        if self.alpha + self.beta == 0:
            raise specs.UsageError("Generalized: alpha and beta are both 0")
        _check(self.attacks, self.gradient)

    @property
    def _remembers(self):
        return self.warm_start and self.weighting == "min_max"

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        if not self._remembers:
            return ()
        equal = domains.uniform(len(self.attacks))
        return equal if self.share == "batch" else jnp.tile(equal, (examples, 1))

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        craft_key, train_key = jax.random.split(key)
        labels, ids = batch["label"], batch["id"]
        model = state.network.target(params, state.batch_stats)
        start = self._start(state.memory, ids)
        crafted, weights = joint.search(self, model, craft_key, batch, start)
        clean, losses, hits, batch_stats, metrics = base.one_pass(
            state, params, batch, list(jnp.swapaxes(crafted, 0, 1)), train_key,
            self.alpha,
        )  # fmt: skip
        attacked = jnp.mean(jnp.sum(weights.T * losses, axis=0))
        metrics["robust_accuracy"] = jnp.mean(base.hardest(losses, hits))
        for i in range(len(self.attacks)):
            metrics[f"accuracy_{i}"] = jnp.mean(hits[i])
            metrics[f"weight_{i}"] = jnp.mean(weights[:, i])
        if self.diversity:
            live = state.network.classifier(params, state.batch_stats, fixed=False)
            keys = joint.example_keys(streams.stream(craft_key, "network"), ids)
            spread = jnp.mean(jax.vmap(joint.diversity, (None, 0, 0, 0))(
                live, crafted, labels, keys
            ))  # fmt: skip
            attacked += self.diversity * spread
            metrics["diversity"] = spread
        loss = clean + self.beta * attacked
        memory = self._remembered(state.memory, ids, weights)
        return loss, base.Output(batch_stats, memory, metrics)

    def _start(self, memory, ids):
        """The weights [b, K], or [K] of the batch, that the search begins with."""
        equal = domains.uniform(len(self.attacks))
        if self.share == "batch":
            return memory if self._remembers else equal
        return memory[ids] if self._remembers else jnp.tile(equal, (len(ids), 1))

    def _remembered(self, memory, ids, weights):
        if not self._remembers:
            return memory
        if self.share == "batch":
            return weights[0]
        return base.remember(memory, ids, weights)


def _check(attacks, gradient):
    if not attacks:
        raise specs.UsageError("Generalized needs attacks; set config.attacks")
    for attack in attacks:
        kind: Any = Ascent  # a type checker sees no fields in a flax dataclass
        if type(attack) is not kind:
            name = type(attack).__name__
            raise specs.UsageError(f"Generalized: {name} in attacks; it takes 'pgd'")
        wanted = {
            "steps": attacks[0].steps,
            "restarts": 1,
            "momentum": None,
            "schedule": "constant",
            "keep": "last",
            "early_stop": False,
        }
        for field, value in wanted.items():
            if getattr(attack, field) != value:
                raise specs.UsageError(
                    f"Generalized: {field} of an attack is {getattr(attack, field)!r}; "
                    f"set it to {value!r}"
                )
        if gradient == "raw" and attack.step_size is None:
            raise specs.UsageError(
                "Generalized.gradient is 'raw', whose steps have no length of their "
                "own; give the attacks step_size in place of rel_step_size"
            )
