"""Corruptions: changes of an image that no one has chosen to do harm."""

from typing import Any

import jax

from jaxadv import numerics, specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.sampling.noise import UniformNoise
from jaxadv.plugins import Registry
from jaxadv.threats import L0, L1, L2, THREATS, Linf
from jaxadv.threats.base import blur, gaussian


@struct.dataclass
class GaussianNoise:
    """Independent normal noise on every channel; pixels are clipped to [0, 1].

    Attributes:
      std: standard deviation in [0, 1] units; the default is a variance of 0.05.
    """

    std: float = specs.leaf(0.05**0.5, minimum=0.0)

    __post_init__ = specs.check

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        noise = self.std * jax.random.normal(key, image.shape)
        return numerics.clip(image + noise, 0.0, 1.0)


@struct.dataclass
class GaussianBlur:
    """A Gaussian blur, the same for every key; black beyond the border.

    Attributes:
      width: standard deviation in pixels.
      size: pixels along a side of the kernel, an odd number.
    """

    width: float = specs.leaf(1.5, minimum=0.0)
    size: int = specs.static(5, minimum=1)

    def __post_init__(self):
        specs.check(self)
        if self.size % 2 == 0:
            raise specs.UsageError(
                f"GaussianBlur.size is {self.size}; it must be odd, to have a middle"
            )

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        blurred = blur(image, gaussian(self.width, self.size // 2), "constant")
        return numerics.clip(blurred, 0.0, 1.0)


CORRUPTIONS = Registry(
    "corruptions", {"gaussian_blur": GaussianBlur, "gaussian_noise": GaussianNoise}
)


@struct.dataclass
class Corrupt(UniformNoise):
    """Corrupts the image `steps` times and keeps a misclassified result.

    One step, the default, measures the accuracy on corrupted images, as Azizmalayeri
    and Rohban, "Lagrangian objective function leads to improved unforeseen attack
    generalization in adversarial training", 2021, table 1, do with noise and blur.
    Theirs does not clip the noisy pixels.

    Attributes:
      threat: an lp ball that results are projected onto; by default all images.
      steps: how often.
      corruption: `(key, image) -> image`.
    """

    threat: Any = specs.part(lambda: THREATS, Linf(1.0))
    steps: int = specs.static(1, minimum=0)
    corruption: Any = specs.part(lambda: CORRUPTIONS, GaussianNoise())

    def __post_init__(self):
        specs.check(self)
        base.check_threat(self, L0, L1, L2, Linf)

    def draw(self, key: jax.Array, image: jax.Array) -> Any:
        return self.threat.project(self.corruption(key, image) - image, image)
