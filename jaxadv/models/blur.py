"""Downsampling after a blur, which a shift of the image by one pixel hardly changes."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxadv import specs

_TAPS = (0.25, 0.5, 0.25)
PADDING = 2
"""Reflected pixels on each side: twice what the filter needs."""
LEAST = PADDING + 1
"""The smallest side of maps: a reflection takes pixels beside the border alone."""


def blur_pool(x: jax.Array, strides: int = 2) -> jax.Array:
    """Maps blurred by the binomial filter [1, 2, 1] / 4 on both axes, then subsampled.

    The filter is that of Zhang, "Making Convolutional Networks Shift-Invariant Again"
    (2019), figure 3. The padding by two reflected pixels on each side is that of
    Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric" (2022).

    Args:
      x: [n, h, w, c], h and w at least `LEAST`.
      strides: step between the pixels that are kept.

    Returns:
      [n, h', w', c] of the same dtype, h' = (h + 1) // strides + 1.

    Raises:
      UsageError: the maps are smaller than `LEAST` pixels on a side.
    """
    if min(x.shape[1:3]) < LEAST:
        raise specs.UsageError(
            f"blur_pool got maps of {x.shape[1]}x{x.shape[2]} pixels; it needs at "
            f"least {LEAST}x{LEAST}; scale the images up"
        )
    sides = (PADDING, PADDING)
    x = jnp.pad(x, ((0, 0), sides, sides, (0, 0)), mode="reflect")
    for axis in (2, 1):
        x = _along(x, axis, strides)
    return x


def _along(x, axis, strides):
    """Weighted sums of strided slices: their gradient is fast on CPU, too."""
    last = (x.shape[axis] - len(_TAPS)) // strides * strides
    terms = (
        weight * lax.slice_in_dim(x, start, start + last + 1, strides, axis)
        for start, weight in enumerate(_TAPS)
    )
    return functools.reduce(jnp.add, terms)
