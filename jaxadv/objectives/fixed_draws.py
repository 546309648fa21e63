"""An objective for which a random network draws the same numbers at every step."""

from typing import Any, ClassVar

import jax

from jaxadv import objectives, protocols, specs, struct
from jaxadv.objectives.base import Around, check_logits
from jaxadv.objectives.untargeted import CrossEntropy


@struct.dataclass
class FixedDraws(Around):
    """An objective at draws that are one image's own throughout a search.

    Of a smoothed network the noise is then the same at all steps, and the search climbs
    one function. Success is asked of other draws. Source: Salman et al., "Provably
    robust deep learning via adversarially trained smoothed classifiers", 2019, section
    2.2; with `jaxadv.smoothing.smoothed` and cross-entropy it is their eq. 6.

    Attributes:
      objective: what is asked of the network.

    Example:
      >>> def noisy(variables, image, key):
      ...     return jnp.array([0.0, jax.random.normal(key)])
      >>> model = ja.Classifier.from_function(noisy, None)
      >>> image, keys = jnp.zeros((1, 1, 1)), jax.random.split(jax.random.key(0), 3)
      >>> fixed = ja.objectives.FixedDraws(ja.Margin()).bind(model, image, 0, keys[0])
      >>> bool(fixed(model, image, 0, keys[1]) == fixed(model, image, 0, keys[2]))
      True
    """

    objective: Any = specs.part(lambda: objectives.OBJECTIVES, CrossEntropy())
    key: Any = specs.bound()

    def __post_init__(self):
        specs.check(self)
        check_logits(self, "fixes")

    gradient_samples: ClassVar[int] = 1

    @property
    def samples(self) -> int:
        return protocols.draws(self.objective)

    def bind(self, model: Any, image: jax.Array, label: Any, key: Any = None) -> Any:
        return super().bind(model, image, label, key).replace(key=key)

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: jax.Array
    ) -> jax.Array:
        return self.objective(model, image, label, self.key)

    def score(
        self, model: Any, image: jax.Array, label: Any, key: jax.Array
    ) -> jax.Array:
        return objectives.score(self.objective, model, image, label, self.key)
