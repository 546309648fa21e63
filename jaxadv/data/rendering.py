"""Draws the scenes of `shapes`: one colored object on a textured background.

Everything is drawn in units of the image's side and sampled at the end, so a
scene looks the same at every resolution. Colors, position, size and rotation
never depend on the class; only the outline does.
"""

import dataclasses

import numpy as np

CLASSES = ("disk", "square", "triangle", "star", "ring", "cross")
_SPLITS = {"train": 0, "test": 1}
_SEED = 20240
_OCTAVES = ((2, 1.0), (4, 0.7), (8, 0.5), (16, 0.35), (32, 0.2))
_STROKES = 2
_CONTRAST = 0.5  # how far apart the background's two colors may be
_SAMPLES = 4  # coverage is counted on a 4 x 4 grid inside each pixel
_NEAREST, _FARTHEST = 0.36, 0.64  # range of the object's center
_SMALLEST, _LARGEST = 0.24, 0.36  # range of the object's outer radius
_STAR_DIP = 0.42  # inner over outer radius of the star


@dataclasses.dataclass(frozen=True)
class Scene:
    """A rendered example.

    Attributes:
      image: uint8 [size, size, 3].
      mask: uint8 [size, size, 1], 1 where any part of the object was painted.
      background: uint8 [size, size, 3], the image before the object was painted;
        equal to `image` wherever `mask` is 0.
      label: index into `CLASSES`.
    """

    image: np.ndarray
    mask: np.ndarray
    background: np.ndarray
    label: int


def render(split: str, index: int, size: int) -> Scene:
    """Draws scene `index` of `split` at `size` x `size` pixels.

    The stream of NumPy's legacy generator is frozen, so the same scene is drawn
    on every machine and NumPy version.
    """
    rng = np.random.RandomState([_SEED, _SPLITS[split], index])
    label = index % len(CLASSES)
    background = _background(rng, size)
    center = _NEAREST + (_FARTHEST - _NEAREST) * rng.random_sample(2)
    radius = _SMALLEST + (_LARGEST - _SMALLEST) * rng.random_sample()
    angle = 2 * np.pi * rng.random_sample()
    cover = coverage(CLASSES[label], center, radius, angle, size)[:, :, None]
    paint = _object_color(rng, background, size)
    image = (1 - cover) * background + cover * paint
    mask = (cover > 0).astype(np.uint8)
    return Scene(_quantize(image), mask, _quantize(background), label)


def coverage(
    shape: str, center: np.ndarray, radius: float, angle: float, size: int
) -> np.ndarray:
    """The fraction of each pixel that the object covers, [size, size].

    Args:
      shape: one of `CLASSES`.
      center: row and column of the object's center, in image sides.
      radius: outer radius, in image sides.
      angle: rotation in radians.
      size: pixels a side.
    """
    fine = size * _SAMPLES
    ticks = (np.arange(fine) + 0.5) / fine
    y, x = ticks[:, None] - center[0], ticks[None, :] - center[1]
    cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
    inside = _inside(shape, cos * x + sin * y, cos * y - sin * x)
    return inside.reshape(size, _SAMPLES, size, _SAMPLES).mean(axis=(1, 3))


def _inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points, in units of the outer radius, lie in the outline."""
    if shape == "disk":
        return u * u + v * v <= 0.85**2
    if shape == "ring":
        squared = u * u + v * v
        return (squared <= 0.95**2) & (squared >= 0.5**2)
    if shape == "square":
        return np.maximum(abs(u), abs(v)) <= 0.72
    if shape == "cross":
        long, short = 0.92, 0.3
        au, av = abs(u), abs(v)
        return ((au <= long) & (av <= short)) | ((au <= short) & (av <= long))
    if shape == "triangle":
        side = np.maximum(np.sqrt(3) * abs(u) - v, 2 * v)
        return side <= 1.0
    return _in_star(u, v)


def _in_star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Inside a five-pointed star whose tips lie at radius 1."""
    wedge = 2 * np.pi / 5
    phase = np.arctan2(u, v) / wedge
    # By symmetry each point folds into the half wedge beside one tip, where the
    # outline is the segment from the tip to the dip.
    folded = abs(phase - np.round(phase)) * wedge
    r = np.hypot(u, v)
    along, across = r * np.cos(folded), r * np.sin(folded)
    dip_along, dip_across = _STAR_DIP * np.cos(wedge / 2), _STAR_DIP * np.sin(wedge / 2)
    return (1 - along) * dip_across >= (1 - dip_along) * across


def _background(rng: np.random.RandomState, size: int) -> np.ndarray:
    """Two colors mixed by multi-scale noise, crossed by strokes; [size, size, 3]."""
    low, high = rng.random_sample((2, 3))
    mix = _noise(rng, size)[:, :, None]
    canvas = low + _CONTRAST * (high - low) * mix
    for _ in range(_STROKES):
        start, end = rng.random_sample((2, 2))
        half_width = 0.01 + 0.03 * rng.random_sample()
        alpha = _stroke(start, end, half_width, size)[:, :, None]
        canvas = (1 - alpha) * canvas + alpha * rng.random_sample(3)
    return canvas


def _noise(rng: np.random.RandomState, size: int) -> np.ndarray:
    """Value noise in [0, 1]: random grids, linearly interpolated; [size, size]."""
    total = np.zeros((size, size))
    for cells, weight in _OCTAVES:
        weights = _interpolation(cells, size)
        total += weight * (weights @ rng.random_sample((cells, cells)) @ weights.T)
    total -= total.min()
    return total / total.max()


def _interpolation(cells: int, size: int) -> np.ndarray:
    """Linear interpolation of `cells` values to `size` pixels, [size, cells]."""
    position = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    return np.maximum(1 - abs(position[:, None] - np.arange(cells)[None, :]), 0)


def _stroke(start, end, half_width: float, size: int) -> np.ndarray:
    """Opacity of an anti-aliased line segment, [size, size]."""
    ticks = (np.arange(size) + 0.5) / size
    y, x = ticks[:, None] - start[0], ticks[None, :] - start[1]
    dy, dx = end - start
    length = max(dy * dy + dx * dx, 1e-12)
    t = np.clip((y * dy + x * dx) / length, 0, 1)
    distance = np.hypot(y - t * dy, x - t * dx)
    return np.clip((half_width - distance) * size + 0.5, 0, 1)


def _object_color(rng, background: np.ndarray, size: int) -> np.ndarray:
    """A shaded color that stands out from the background, [size, size, 3]."""
    choices = rng.random_sample((6, 3))
    gap = np.sum((choices - background.mean(axis=(0, 1))) ** 2, axis=1)
    shade = 0.8 + 0.2 * _noise(rng, size)[:, :, None]
    return shade * choices[np.argmax(gap)]


def _quantize(image: np.ndarray) -> np.ndarray:
    return np.floor(image * 255 + 0.5).astype(np.uint8)
