"""An objective at the mean of a network's noise."""

from typing import Any, ClassVar

import jax

from jaxadv import objectives, specs, struct
from jaxadv.objectives.base import Around, check_logits
from jaxadv.objectives.untargeted import CrossEntropy


@struct.dataclass
class WithoutNoise(Around):
    """An objective of the same network without its noise, for a gradient without luck.

    Noise of mean 0 on activations or weights is replaced by its mean. What is found is
    an attack on the random network only where that is fooled as well: whether it has
    succeeded is asked of the random network's mean prediction over `samples` keys. It
    is the adaptive attack that Athalye, Carlini and Wagner, "Obfuscated gradients give
    a false sense of security", 2018, section 3 asks for, in its simplest form.

    Attributes:
      objective: of the network without noise.
      samples: keys of one question for success.

    Raises:
      UsageError: the network cannot do without its noise.
    """

    objective: Any = specs.part(lambda: objectives.OBJECTIVES, CrossEntropy())
    samples: int = specs.static(16, minimum=1)
    gradient_samples: ClassVar[int] = 1
    noiseless: ClassVar[bool] = True

    def __post_init__(self):
        specs.check(self)
        check_logits(self, "takes the noise out of")

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: jax.Array
    ) -> jax.Array:
        return self.objective(model.without_noise(), image, label, key)
