"""Transformations of one image that an attack must survive.

Each is called as `transform(image [h, w, c], key) -> [h, w, c]`, differentiable, of the
same shape; those with a random part draw anew from every key. A result may leave
[0, 1] where the docstring says so. Source: Wang, Zhang, Liu, Chen, Xu, Fardad and Li,
"Adversarial Attack Generation Empowered by Min-Max Optimization", 2021, appendix C.3.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.plugins import Registry
from jaxadv.threats.base import sample
from jaxadv.threats.spatial import RotationTranslation

_LEVEL = 1 / 255


@struct.dataclass
class Identity:
    """The image itself."""

    def __call__(self, image: jax.Array, key: Any = None) -> jax.Array:
        return image


@struct.dataclass
class FlipLeftRight:
    """The image mirrored from left to right."""

    def __call__(self, image: jax.Array, key: Any = None) -> jax.Array:
        return image[:, ::-1]


@struct.dataclass
class FlipUpDown:
    """The image mirrored from top to bottom."""

    def __call__(self, image: jax.Array, key: Any = None) -> jax.Array:
        return image[::-1]


@struct.dataclass
class Brightness:
    """`amount` added to every channel, without clipping: the result may exceed 1."""

    amount: float = specs.leaf(0.1)

    def __call__(self, image: jax.Array, key: Any = None) -> jax.Array:
        return image + self.amount


@struct.dataclass
class Gamma:
    """Every channel to the power of `gamma`, which lightens where that is below 1.

    The slope at black is then infinite: darker channels than the first of 255 levels
    get the slope of that.
    """

    gamma: float = specs.leaf(1.3, minimum=0.0)

    __post_init__ = specs.check

    def __call__(self, image: jax.Array, key: Any = None) -> jax.Array:
        steep = (self.gamma < 1) & (image < _LEVEL)
        fixed = jax.lax.stop_gradient(image)
        slope = self.gamma * _LEVEL ** (self.gamma - 1)
        straight = fixed**self.gamma + slope * (image - fixed)
        return jnp.where(steep, straight, jnp.where(steep, 1.0, image) ** self.gamma)


@struct.dataclass
class CropResize:
    """The center of the image, enlarged linearly to the whole size, corner on corner.

    Attributes:
      least: smallest side of the center as a share of the image's.
      most: largest one; a key draws uniformly between the two.
    """

    least: float = specs.leaf(0.8, minimum=0.0, maximum=1.0)
    most: float = specs.leaf(0.8, minimum=0.0, maximum=1.0)

    __post_init__ = specs.check

    def __call__(self, image: jax.Array, key: Any = None) -> jax.Array:
        share = _between(key, self.least, self.most)
        lines = [
            (n - 1) * ((1 - share) / 2 + share * jnp.linspace(0.0, 1.0, n))
            for n in image.shape[:2]
        ]
        return sample(image, jnp.meshgrid(*lines, indexing="ij"), "nearest")


@struct.dataclass
class Rotation:
    """The image turned counterclockwise about its center, black beyond the border.

    Attributes:
      least: smallest angle in degrees; the source turns by 30 degrees clockwise.
      most: largest one; a key draws uniformly between the two.
    """

    least: float = specs.leaf(-30.0)
    most: float = specs.leaf(-30.0)

    def __call__(self, image: jax.Array, key: Any = None) -> jax.Array:
        angle = _between(key, self.least, self.most)
        turn = RotationTranslation(degrees=1.0)
        return turn.apply(jnp.stack([angle, 0.0, 0.0]), image)


@struct.dataclass
class Sometimes:
    """Another transformation with some probability, else the image itself.

    Attributes:
      transform: what is done.
      probability: how often.
    """

    transform: Any = specs.part(lambda: TRANSFORMS)
    probability: float = specs.leaf(0.8, minimum=0.0, maximum=1.0)

    __post_init__ = specs.check

    def __call__(self, image: jax.Array, key: jax.Array) -> jax.Array:
        coin, own = jax.random.split(key)
        done = jax.random.bernoulli(coin, self.probability)
        return jnp.where(done, self.transform(image, own), image)


TRANSFORMS = Registry(
    "transforms",
    {
        "brightness": Brightness,
        "crop_resize": CropResize,
        "flip_left_right": FlipLeftRight,
        "flip_up_down": FlipUpDown,
        "gamma": Gamma,
        "identity": Identity,
        "rotation": Rotation,
        "sometimes": Sometimes,
    },
)


def deterministic(count: int = 6) -> tuple[Any, ...]:
    """The first `count` of the source's seven: 6 in table 3, 7 in table A6."""
    return (
        Identity(),
        FlipLeftRight(),
        FlipUpDown(),
        Brightness(),
        Gamma(),
        CropResize(),
        Rotation(),
    )[:count]


def stochastic() -> tuple[Any, ...]:
    """The source's random set: table A5, with the rotation of its appendix C.3 last."""
    return (
        Identity(),
        Sometimes(FlipLeftRight()),
        Sometimes(FlipUpDown()),
        Sometimes(Brightness()),
        CropResize(0.6, 1.0),
        Rotation(-10.0, 10.0),
    )


def _between(key, least, most):
    """A uniform draw, without need of a key where both ends are the same number."""
    least, most = jnp.asarray(least, float), jnp.asarray(most, float)
    if key is None:
        return (least + most) / 2
    return jax.random.uniform(key, (), minval=least, maxval=most)
