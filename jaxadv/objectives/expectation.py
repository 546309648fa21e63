"""The mean of an objective over the draws of a random network."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import objectives, specs, struct
from jaxadv.objectives.base import Around, check_logits
from jaxadv.objectives.untargeted import CrossEntropy


@struct.dataclass
class Expectation(Around):
    """The mean of an objective over `samples` keys, for stochastic models.

    Whether an attack has succeeded is asked of the mean prediction over as many
    keys: one lucky draw is no success. Source: Athalye et al., "Synthesizing robust
    adversarial examples", 2018 (expectation over transformation).

    Attributes:
      objective: whose mean is taken.
      samples: keys of one value, and of one question for success.

    Example:
      >>> def noisy(variables, image, key):
      ...     return jnp.array([0.0, jax.random.normal(key)])
      >>> model = ja.Classifier.from_function(noisy, None)
      >>> mean = ja.Expectation(ja.Margin(), samples=1000)
      >>> value = mean(model, jnp.zeros((1, 1, 1)), 0, jax.random.key(0))
      >>> abs(float(value)) < 0.1  # one draw has a deviation of 1
      True
    """

    objective: Any = specs.part(lambda: objectives.OBJECTIVES, CrossEntropy())
    samples: int = specs.static(16, minimum=1)

    def __post_init__(self):
        specs.check(self)
        check_logits(self, "draws")

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: jax.Array
    ) -> jax.Array:
        keys = jax.random.split(key, self.samples)
        values = jax.vmap(lambda k: self.objective(model, image, label, k))(keys)
        return jnp.mean(values)
