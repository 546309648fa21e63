"""Objectives that are content with any wrong class."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.objectives.losses import (
    cross_entropy,
    dlr,
    kl_divergence,
    margin,
    soft_margin,
)


@struct.dataclass
class CrossEntropy:
    """Cross-entropy to the label, in nats.

    Example:
      >>> model = ja.Classifier.from_function(lambda w, x, key: x.ravel(), None)
      >>> value = ja.CrossEntropy()(model, jnp.zeros((1, 2, 1)), label=0)
      >>> round(float(value), 4)  # of two equal logits
      0.6931
    """

    goal = staticmethod(margin)

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        return cross_entropy(model(image, key), label)

    def score(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        return soft_margin(model(image, key), label)


@struct.dataclass
class Margin:
    """The logit margin, flat beyond `kappa`.

    Source: Carlini and Wagner, "Towards evaluating the robustness of neural
    networks", 2017, objective f6 with confidence kappa.

    Attributes:
      kappa: from where on it is flat, in units of the logits.

    Example:
      >>> model = ja.Classifier.from_function(lambda w, x, key: 10 * x.ravel(), None)
      >>> image = jnp.array([0.2, 0.9, 0.4]).reshape(1, 3, 1)
      >>> value = ja.Margin()(model, image, label=1)  # the largest other logit - own
      >>> round(float(value), 4)
      -5.0
    """

    kappa: float = specs.leaf(float("inf"), minimum=0.0, infinite=True)

    __post_init__ = specs.check
    goal = staticmethod(margin)

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        return jnp.minimum(margin(model(image, key), label), self.kappa)


@struct.dataclass
class DLR:
    """Difference-of-logits ratio; see `dlr`."""

    goal = staticmethod(margin)

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        return dlr(model(image, key), label)


@struct.dataclass
class KL:
    """KL divergence from the clean prediction, in nats.

    Source: Zhang et al., "Theoretically principled trade-off between robustness
    and accuracy", 2019, eq. 5.

    Attributes:
      reference: [classes] logits of the clean image; set by `bind`.
    """

    reference: Any = specs.bound()

    goal = staticmethod(margin)
    flat_at_image: ClassVar[bool] = True

    def bind(self, model: Any, image: jax.Array, label: Any, key: Any = None) -> Any:
        reference = jax.lax.stop_gradient(model(image, key))
        return self.replace(reference=reference)  # type: ignore[attr-defined]

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        return kl_divergence(self.reference, model(image, key))
