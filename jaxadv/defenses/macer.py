"""MACER: training that raises the certified radius itself, without an attack."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from jaxadv import specs, struct
from jaxadv.defenses import base
from jaxadv.defenses.gaussian import fresh_pass

_EDGE = 1e-6  # probabilities are this far from 0 and 1 before their quantile


@struct.dataclass
class Macer:
    """Cross-entropy of the soft smoothed network, and a hinge on its certified radius.

    Source: Zhai et al., "MACER: attack-free and scalable robust training via maximizing
    certified radius", 2020, algorithm 1; the defaults are its CIFAR-10 ones at sigma =
    0.25.

    Attributes:
      sigma: the noise's deviation, in [0, 1] units.
      samples: noisy copies of an image, k.
      lam: weight of the hinge.
      gamma: the hinge's end, in units of sigma / 2.
      beta: the logits are multiplied by it where the radius is computed.
    """

    sigma: float = specs.static(0.25, minimum=0.0)
    samples: int = specs.static(16, minimum=1)
    lam: float = specs.static(12.0, minimum=0.0)
    gamma: float = specs.static(8.0, minimum=0.0)
    beta: float = specs.static(16.0, minimum=0.0)

    __post_init__ = specs.check

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        logits, batch_stats = fresh_pass(self, params, state, batch, key)
        parts = jax.vmap(self.parts)(logits, batch["label"])
        loss, radius, right = map(jnp.mean, parts)
        metrics = {"noisy_accuracy": right, "radius_loss": radius}
        total = loss + self.lam * radius
        return total, base.Output(batch_stats, state.memory, metrics)

    def parts(self, logits: jax.Array, label: Any) -> tuple:
        """Of one image's logits [samples, classes] the classification loss, the radius
        loss, and whether the mean prediction is right."""
        mean = jnp.mean(jax.nn.softmax(logits), axis=0)
        classification = -jnp.log(mean[label] + 1e-10)
        sharp = jnp.mean(jax.nn.softmax(self.beta * logits), axis=0)
        others = jnp.where(jnp.arange(sharp.shape[-1]) == label, -1.0, sharp)
        second = jnp.max(others)
        right = sharp[label] > second
        return classification, self.radius_loss(sharp[label], second, right), right

    def radius_loss(self, first: Any, second: Any, right: Any) -> jax.Array:
        """sigma / 2 (gamma less the difference of quantiles), 0 where it counts not:
        of a wrong image, and of a radius that is long enough.

        Args:
          first: the probability of the label.
          second: the largest other one.
          right: whether the label's is larger.
        """
        # Outside the edges a gradient of the quantile is infinite, and NaN times 0.
        first, second = (jnp.clip(p, _EDGE, 1 - _EDGE) for p in (first, second))
        short = self.gamma - (ndtri(first) - ndtri(second))
        counts = right & (short >= 0)
        return self.sigma / 2 * jnp.where(counts, short, 0.0)
