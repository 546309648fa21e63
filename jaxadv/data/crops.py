"""Decodes encoded images and cuts them to one size, on the host."""

import io
import math

import numpy as np
from PIL import Image

_RESIZE = 256 / 224  # shorter side over crop side, the usual ImageNet evaluation
MIN_AREA, MAX_RATIO = 0.08, 4 / 3  # of random crops, the usual of ImageNet
_TRIES = 10


def whole(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Decodes an image of a known shape.

    Args:
      data: an encoded image.
      shape: [h, w, c], with c of 1 or 3.

    Returns:
      uint8 [h, w, c].
    """
    return np.asarray(_open(data, "L" if shape[-1] == 1 else "RGB")).reshape(shape)


def center(data: bytes, size: int) -> np.ndarray:
    """Resizes the shorter side to 8/7 of `size` and takes the center square.

    Args:
      data: an encoded image.
      size: pixels a side.

    Returns:
      uint8 [size, size, 3].
    """
    image = _open(data)
    shorter = round(size * _RESIZE)
    scale = shorter / min(image.size)
    width, height = (max(shorter, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def square(image: Image.Image, size: int) -> Image.Image:
    """Scales the shorter side to `size` pixels and takes the square in the middle."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def randomly(
    data: bytes,
    size: int,
    rng: np.random.Generator,
    min_area: float = MIN_AREA,
    max_ratio: float = MAX_RATIO,
) -> np.ndarray:
    """Resizes a random rectangle to a square.

    The rectangle's area and the logarithm of its aspect ratio are uniform (Szegedy
    et al., "Going deeper with convolutions", 2015). Where ten draws do not fit into
    the image, the largest center square is taken.

    Args:
      data: an encoded image.
      size: pixels a side.
      rng: the source of randomness.
      min_area: least area, as a fraction of the image's.
      max_ratio: greatest width over height; the least is its inverse.

    Returns:
      uint8 [size, size, 3].
    """
    image = _open(data)
    box = _rectangle(*image.size, rng, min_area, max_ratio)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def _open(data: bytes, mode: str = "RGB") -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert(mode)


def _rectangle(
    width, height, rng, min_area=MIN_AREA, max_ratio=MAX_RATIO
) -> tuple[int, int, int, int]:
    limit = math.log(max_ratio)
    for _ in range(_TRIES):
        area = width * height * rng.uniform(min_area, 1.0)
        ratio = math.exp(rng.uniform(-limit, limit))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(width - w + 1))
            top = int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
