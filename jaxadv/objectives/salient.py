"""An objective, and how much of the image's saliency stays on the foreground."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import objectives, protocols, specs, struct
from jaxadv.numerics import masks
from jaxadv.objectives.base import Around, check_logits
from jaxadv.objectives.untargeted import CrossEntropy
from jaxadv.perceptual.saliency import SALIENCY, foreground_score


@struct.dataclass
class Salient(Around):
    """An objective plus `lam` times the foreground score of the perturbed image.

    It keeps the looks on the foreground, so that changes of the background go unseen.
    Success is that of the objective alone. Source: Tong et al., "Towards robustness
    against unsuspicious adversarial examples", appendix A, eq. 3.

    Attributes:
      objective: what is asked of the network.
      network: a saliency network, image [h, w, c] -> log-density [h, w].
      lam: weight of the score, in units of the objective; 0 leaves the network out of
        the program.
      mask: [h, w, 1] of 0 and 1, the foreground, as of `Masked`; "dataset" or "central"
        in its place sets `where`.
      where: the mask where none is given, "central" or "dataset", as of `Masked`.
    """

    objective: Any = specs.part(lambda: objectives.OBJECTIVES, CrossEntropy())
    network: Any = specs.part(lambda: SALIENCY, None)
    lam: float = specs.static(0.1, minimum=0.0)
    mask: Any = specs.leaf(None, binary=True)
    where: str = specs.static("dataset", choices=("central", "dataset"))

    def __post_init__(self):
        masks.settle(self)
        specs.check(self)
        check_logits(self, "adds a score to")
        if self.lam and self.network is None:
            raise specs.UsageError(
                "Salient.network is None; give a saliency network, as {'name': 'file', "
                "'path': FILE}, or lam=0"
            )

    @property
    def wants(self) -> Mapping[str, str]:
        return masks.wants(self) if self.lam else {}

    gradient_samples: ClassVar[int] = 1

    @property
    def samples(self) -> int:
        return protocols.draws(self.objective)

    def bind(self, model: Any, image: jax.Array, label: Any, key: Any = None) -> Any:
        own = super().bind(model, image, label, key)
        if not self.lam:
            return own
        return own.replace(mask=jnp.asarray(masks.of(self, image), image.dtype))

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: jax.Array
    ) -> jax.Array:
        value = self.objective(model, image, label, key)
        if not self.lam:
            return value
        return value + self.lam * foreground_score(self.network(image), self.mask)
