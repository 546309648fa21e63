"""Random changes of training images that keep their labels.

An augmentation is a pure function of a key and ONE image, float32 [h, w, c] in
[0, 1], and returns an image of the same shape and range; `chain` applies several
to a batch, inside compiled code. Those that are `geometric` treat all channels alike
and take any number of them: foreground masks ride along as further channels.

The randomness of an example depends on (seed, epoch, example id) alone: not on
the batch, its order, or the device.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import protocols, specs, struct
from jaxadv.plugins import Registry

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# Principal components of ImageNet's colors in [0, 1], one a column, and what each is
# multiplied with.
_COMPONENTS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
_EXTENTS = (0.2175, 0.0188, 0.0045)


@struct.dataclass
class PadCrop:
    """Pads the image on all sides and cuts out a random window of its old size.

    Attributes:
      padding: pixels on each side; each window is equally likely.
      mode: what is padded, "zeros" or "reflect" (without repeating the border).
    """

    padding: int = specs.static(4, minimum=0)
    mode: str = specs.static("zeros", choices=("zeros", "reflect"))

    geometric: ClassVar[bool] = True

    def __post_init__(self):
        specs.check(self)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Augments image [h, w, c]; the key is consumed."""
        p = self.padding
        mode = "constant" if self.mode == "zeros" else "reflect"
        padded = jnp.pad(image, ((p, p), (p, p), (0, 0)), mode)
        top, left = jax.random.randint(key, (2,), 0, 2 * p + 1)
        return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


@struct.dataclass
class Flip:
    """Mirrors the image left to right.

    Attributes:
      probability: how often.
    """

    probability: float = specs.leaf(0.5, minimum=0, maximum=1)

    geometric: ClassVar[bool] = True

    def __post_init__(self):
        specs.check(self)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Augments image [h, w, c]; the key is consumed."""
        flipped = jax.random.bernoulli(key, self.probability)
        return jnp.where(flipped, image[:, ::-1], image)


@struct.dataclass
class ResizedCrop:
    """Stretches a random rectangle to the whole image, linearly interpolated.

    The rectangle's area and the logarithm of its aspect ratio are uniform, then
    its sides are cut to those of the image (Szegedy et al., "Going deeper with
    convolutions", 2015, where rectangles that do not fit are drawn again).

    Attributes:
      min_area: least area, as a fraction of the image's.
      max_ratio: greatest width over height, in sides of the image; the least is
        its inverse.
    """

    min_area: float = specs.leaf(0.25, minimum=0.01, maximum=1)
    max_ratio: float = specs.leaf(4 / 3, minimum=1)

    geometric: ClassVar[bool] = True

    def __post_init__(self):
        specs.check(self)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Augments image [h, w, c]; the key is consumed."""
        area_key, ratio_key, place_key = jax.random.split(key, 3)
        area = jax.random.uniform(area_key, (), minval=self.min_area, maxval=1.0)
        limit = jnp.log(self.max_ratio)
        log_ratio = limit * jax.random.uniform(ratio_key, (), minval=-1.0)
        stretch = jnp.exp(jnp.stack([-log_ratio, log_ratio]) / 2)
        sides = jnp.minimum(jnp.sqrt(area) * stretch, 1.0)  # height, width
        corner = jax.random.uniform(place_key, (2,)) * (1 - sides)
        return _resize(image, corner, sides)


@struct.dataclass
class ColorJitter:
    """Changes brightness, contrast and saturation, in this order.

    Each is a blend `f * image + (1 - f) * other` with f uniform in [1 - a, 1 + a],
    clipped to [0, 1]; `other` is black, the mean gray, or the gray image. Only
    for images of 1 or 3 channels; gray images have no saturation to change.

    Attributes:
      brightness: a of the blend with black.
      contrast: a of the blend with the mean gray.
      saturation: a of the blend with the gray image.
    """

    brightness: float = specs.leaf(0.2, minimum=0, maximum=1)
    contrast: float = specs.leaf(0.2, minimum=0, maximum=1)
    saturation: float = specs.leaf(0.2, minimum=0, maximum=1)

    geometric: ClassVar[bool] = False

    def __post_init__(self):
        specs.check(self)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Augments image [h, w, c]; the key is consumed."""
        amounts = jnp.stack([self.brightness, self.contrast, self.saturation])
        factors = 1 + amounts * jax.random.uniform(key, (3,), minval=-1.0)
        image = _blend(image, jnp.zeros_like(image), factors[0])
        image = _blend(image, jnp.mean(_gray(image)), factors[1])
        return _blend(image, _gray(image), factors[2])


@struct.dataclass
class Lighting:
    """Shifts all pixels by one color, drawn along ImageNet's principal colors.

    The result is clipped to [0, 1]. Gray images are shifted by the color's luma. Only
    for images of 1 or 3 channels.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep
    convolutional neural networks", 2012, section 4.1.

    Attributes:
      std: standard deviation of the draw, in the extents of the components.
    """

    std: float = specs.leaf(0.05, minimum=0)

    geometric: ClassVar[bool] = False

    def __post_init__(self):
        specs.check(self)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Augments image [h, w, c]; the key is consumed."""
        draw = self.std * jax.random.normal(key, (3,)) * jnp.array(_EXTENTS)
        shift = jnp.sum(jnp.array(_COMPONENTS) * draw, axis=1)
        if image.shape[-1] == 1:
            shift = _gray(shift)
        return jnp.clip(image + shift, 0.0, 1.0)


@struct.dataclass
class Rotate:
    """Turns the image about its center, linearly interpolated.

    Attributes:
      degrees: the angle is uniform in [-degrees, degrees].
    """

    degrees: float = specs.leaf(10.0, minimum=0, maximum=180)

    geometric: ClassVar[bool] = True

    def __post_init__(self):
        specs.check(self)

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Augments image [h, w, c]; the key is consumed."""
        limit = jnp.deg2rad(self.degrees)
        return rotate(image, limit * jax.random.uniform(key, (), minval=-1.0))


AUGMENTATIONS = Registry(
    "augmentations",
    {
        "pad_crop": PadCrop,
        "flip": Flip,
        "resized_crop": ResizedCrop,
        "color_jitter": ColorJitter,
        "lighting": Lighting,
        "rotate": Rotate,
    },
    protocols.Augmentation,
)


def without_crop(
    augmentations: Sequence[Augmentation],
) -> tuple[ResizedCrop | None, tuple[Augmentation, ...]]:
    """The first `ResizedCrop`, or None, and all others in their order.

    For images that are cut at random when they are read, from larger ones: it says how
    and must not be done again.
    """
    crop: Any = ResizedCrop
    found = next((i for i, a in enumerate(augmentations) if type(a) is crop), None)
    if found is None:
        return None, tuple(augmentations)
    rest = (*augmentations[:found], *augmentations[found + 1 :])
    return augmentations[found], rest  # type: ignore[return-value]


def chain(augmentations: Sequence[Augmentation]) -> Callable[..., Any]:
    """Several augmentations, one after the other, for a batch.

    Returns:
      A function (seed, epoch, ids [b], images [b, h, w, c], features) -> images and
      features, to be used inside compiled code; `seed` and `epoch` are integers, traced
      or not. Features are maps of zeros and ones, name -> [b, h, w, 1], which geometric
      augmentations move with the image; what they mix is 1 from a half on.

    Raises:
      UsageError: when it is called with features, and an augmentation does not say
        whether it is geometric.
    """

    def augment(seed, epoch, ids, images, features=None):
        epoch_key = jax.random.fold_in(jax.random.key(seed), epoch)
        features = dict(features or {})
        channels = images.shape[-1]

        def one(example_id, image, *maps):
            key = jax.random.fold_in(epoch_key, example_id)
            for i, augmentation in enumerate(augmentations):
                own = jax.random.fold_in(key, i)
                if maps and _moves(augmentation):
                    both = augmentation(own, jnp.concatenate([image, *maps], axis=-1))
                    image, *maps = jnp.split(both, _edges(channels, maps), axis=-1)
                else:
                    image = augmentation(own, image)
            return image, [(m >= 0.5).astype(m.dtype) for m in maps]

        maps = [value.astype(images.dtype) for value in features.values()]
        images, moved = jax.vmap(one)(ids, images, *maps)
        moved = (
            m.astype(v.dtype) for m, v in zip(moved, features.values(), strict=True)
        )
        return images, dict(zip(features, moved, strict=True))

    return augment


def _moves(augmentation):
    found = protocols.geometric(augmentation)
    if found is None:
        raise specs.UsageError(
            f"{type(augmentation).__name__} does not say whether it moves pixels, and "
            "the images have masks, which would have to move with them; give it a "
            "`geometric = True`, for any number of channels, or False"
        )
    return found


def _edges(channels, maps):
    """Where image and maps [h, w, k] are divided again."""
    sizes = [channels, *(m.shape[-1] for m in maps)]
    return [sum(sizes[: i + 1]) for i in range(len(maps))]


def rotate(image: jax.Array, angle: jax.Array | float) -> jax.Array:
    """The image [h, w, c] turned counterclockwise by `angle` radians.

    Outside of the image its border is continued.
    """
    height, width = image.shape[:2]
    middle = jnp.array([(height - 1) / 2, (width - 1) / 2])
    y = jnp.arange(height)[:, None] - middle[0]
    x = jnp.arange(width)[None, :] - middle[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    places = [cos * y + sin * x + middle[0], cos * x - sin * y + middle[1]]

    def channel(plane):
        return jax.scipy.ndimage.map_coordinates(plane, places, 1, mode="nearest")

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image)


def _resize(image: jax.Array, corner: jax.Array, sides: jax.Array) -> jax.Array:
    """The rectangle `corner` + `sides`, in image sides (y, x), at image size."""
    scale = 1 / sides
    shift = -corner * scale * jnp.array(image.shape[:2])
    resized = jax.image.scale_and_translate(
        image, image.shape, (0, 1), scale, shift, method="linear"
    )
    return jnp.clip(resized, 0.0, 1.0)


def _gray(image: jax.Array) -> jax.Array:
    """Luma [..., 1] of colors of 1 or 3 channels."""
    if image.shape[-1] == 1:
        return image
    return jnp.sum(image * jnp.array(_LUMA), axis=-1, keepdims=True)


def _blend(image: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    return jnp.clip(factor * image + (1 - factor) * other, 0.0, 1.0)
