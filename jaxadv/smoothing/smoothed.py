"""The smoothed network as a classifier: the mean of many noisy looks at an image."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import protocols
from jaxadv.classifier import Classifier
from jaxadv.numerics import streams
from jaxadv.objectives.base import expected_logits
from jaxadv.smoothing.sampler import noisy
from jaxadv.specs import UsageError


def smoothed(model: Any, sigma: float, samples: int = 16) -> Classifier:
    """The soft smoothed network, for attacks and tables of accuracy.

    Its logits are the log of the mean probabilities over `samples` noisy copies of the
    image, drawn anew for each key. With one sample they are the network's own on one
    noisy copy, for objectives that take the mean themselves, as `Expectation`. It
    certifies nothing: that is `jaxadv.smoothing.certify`. Source: Salman et al.,
    "Provably robust deep learning via adversarially trained smoothed classifiers",
    2019, eqs. 2 and 6.

    Args:
      model: a Classifier.
      sigma: the noise's deviation, in [0, 1] units.
      samples: noisy copies of one look.

    Raises:
      UsageError: sigma is below 0, or there is no sample.

    Example:
      >>> model = ja.Classifier.from_function(lambda w, x, key: x.ravel(), None)
      >>> smooth = ja.smoothed(model, sigma=0.25, samples=1000)
      >>> image = jnp.array([[[0.5], [0.4]]])
      >>> found = jax.nn.softmax(smooth(image, jax.random.key(0)))
      >>> bool(0.5 < found[0] < 0.55)
      True
    """
    if not sigma >= 0 or samples < 1:
        raise UsageError(
            f"smoothed: sigma is {sigma} and samples {samples}; they must be at least "
            "0 and 1"
        )
    variables = {"model": model, "sigma": jnp.asarray(sigma, jnp.float32)}
    return Classifier(variables, apply=Noisy(int(samples)))


@dataclasses.dataclass(frozen=True)
class Noisy:
    """`apply` of a smoothed classifier; static, the network is among its variables.

    Attributes:
      samples: noisy copies of one look.
      precise: whether the network computes in float32.
    """

    samples: int
    precise: bool = False

    def full_precision(self) -> "Noisy":
        return dataclasses.replace(self, precise=True)

    def __call__(self, variables: Any, image: jax.Array, key: Any) -> tuple:
        model, sigma = variables["model"], variables["sigma"]
        if self.precise:
            model = protocols.full_precision(model)

        def once(image, own):
            return model(noisy(own, image, sigma), streams.stream(own, "network"))

        key = jax.random.key(0) if key is None else key
        return expected_logits(once, image, key, self.samples), ()


def copies(key: jax.Array, image: jax.Array, sigma: Any, samples: int) -> jax.Array:
    """The noisy copies [samples, h, w, c] that `smoothed` looks at with a key."""
    keys = jax.random.split(key, samples) if samples > 1 else key[None]
    return jax.vmap(lambda own: noisy(own, image, sigma))(keys)
