"""Decodes encoded images and cuts them to one size, on the host."""

import io
import math

import numpy as np
from PIL import Image

_RESIZE = 256 / 224  # shorter side over crop side, the usual ImageNet evaluation
_AREA = (0.08, 1.0)  # of the image, for random crops
_RATIO = (3 / 4, 4 / 3)  # width over height
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


def randomly(data: bytes, size: int, rng: np.random.Generator) -> np.ndarray:
    """Resizes a random rectangle to a square.

    The rectangle has 8 to 100 % of the area and a width of 3/4 to 4/3 of its
    height (Szegedy et al., "Going deeper with convolutions", 2015). Where ten
    draws do not fit into the image, the largest center square is taken.

    Args:
      data: an encoded image.
      size: pixels a side.
      rng: the source of randomness.

    Returns:
      uint8 [size, size, 3].
    """
    image = _open(data)
    box = _rectangle(*image.size, rng)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def _open(data: bytes, mode: str = "RGB") -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert(mode)


def _rectangle(width: int, height: int, rng) -> tuple[int, int, int, int]:
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*_AREA)
        ratio = math.exp(rng.uniform(*map(math.log, _RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(width - w + 1))
            top = int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
