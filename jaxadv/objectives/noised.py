"""The mean of an objective over Gaussian noise on the image: against smoothing."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import objectives, specs, struct
from jaxadv.numerics import streams
from jaxadv.objectives.base import Around, check_logits, expected_logits
from jaxadv.objectives.untargeted import CrossEntropy


@struct.dataclass
class Noised(Around):
    """The mean of an objective over `samples` noisy copies, drawn anew in each step.

    It attacks a network that will be smoothed, given the network itself: the gradient
    is that of the mean loss, not of the loss of the mean probabilities, and the noise
    is no part of what is returned. Whether an attack has succeeded is asked of the mean
    prediction over as many noisy copies. Source: Tong et al., "Towards robustness
    against unsuspicious adversarial examples", appendix, eqs. 5 and 6.

    Attributes:
      objective: whose mean is taken.
      sigma: the noise's deviation, in [0, 1] units.
      samples: noisy copies of one value; not given in the source.
    """

    objective: Any = specs.part(lambda: objectives.OBJECTIVES, CrossEntropy())
    sigma: float = specs.leaf(0.25, minimum=0.0)
    samples: int = specs.static(16, minimum=1)

    def __post_init__(self):
        specs.check(self)
        check_logits(self, "adds noise before")

    def goal_at(
        self, model: Any, image: jax.Array, label: Any, key: jax.Array
    ) -> jax.Array:
        def noised(image, own):
            return model(*self._noised(image, own))

        logits = expected_logits(noised, image, key, self.samples)
        return self.objective.goal(logits, label)

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: jax.Array
    ) -> jax.Array:
        def value(own):
            moved, network = self._noised(image, own)
            return self.objective(model, moved, label, network)

        return jnp.mean(jax.vmap(value)(jax.random.split(key, self.samples)))

    def _noised(self, image, key):
        """A noisy copy, and the key of the network's own noise."""
        noise = jax.random.normal(key, image.shape)
        return image + self.sigma * noise, streams.stream(key, "network")
