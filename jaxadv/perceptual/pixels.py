"""Distances that need no network: l2, l-infinity and SSIM."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import arrays, numerics, specs, struct


@struct.dataclass
class L2Distance:
    """Euclidean distance of two images [h, w, c], in [0, 1] units."""

    def __call__(self, image: jax.Array, other: jax.Array) -> jax.Array:
        arrays.check_pair(image, other)
        return numerics.safe_norm(image - other, "l2")


@struct.dataclass
class LinfDistance:
    """Largest change of a channel of two images [h, w, c], in [0, 1] units."""

    def __call__(self, image: jax.Array, other: jax.Array) -> jax.Array:
        arrays.check_pair(image, other)
        return numerics.safe_norm(image - other, "linf")


@struct.dataclass
class Ssim:
    """1 - SSIM of two images [h, w, c] in [0, 1]: 0 where they are equal.

    Gaussian windows, zeros beyond the border, one mean over pixels and channels.
    Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error
    visibility to structural similarity", 2004, eq. 13, with K1 = 0.01, K2 = 0.03.

    Attributes:
      window: side of the window in pixels, odd.
      sigma: standard deviation of its Gaussian in pixels.
    """

    window: int = specs.static(11, minimum=1)
    sigma: float = specs.static(1.5, minimum=0.0)

    def __post_init__(self):
        specs.check(self)
        if self.window % 2 == 0:
            raise specs.UsageError(f"Ssim.window is {self.window}; it must be odd")

    def __call__(self, image: jax.Array, other: jax.Array) -> jax.Array:
        arrays.check_pair(image, other)
        mean_a, mean_b = self._blur(image), self._blur(other)
        var_a = self._blur(image * image) - mean_a**2
        var_b = self._blur(other * other) - mean_b**2
        covariance = self._blur(image * other) - mean_a * mean_b
        c1, c2 = 0.01**2, 0.03**2
        same_mean = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        same_shape = (2 * covariance + c2) / (var_a + var_b + c2)
        return 1 - jnp.mean(same_mean * same_shape)

    def _blur(self, image):
        offsets = np.arange(self.window) - self.window // 2
        line = np.exp(-(offsets**2) / (2 * self.sigma**2))
        line = (line / line.sum()).astype(image.dtype)
        for axis in (0, 1):
            image = self._along(image, line, axis)
        return image

    def _along(self, image, line, axis):
        side = self.window // 2
        pads = [(side, side) if i == axis else (0, 0) for i in range(image.ndim)]
        padded, size = jnp.pad(image, pads), image.shape[axis]
        blurred = jnp.zeros_like(image)
        for start, weight in enumerate(line):
            blurred += weight * jax.lax.slice_in_dim(
                padded, start, start + size, axis=axis
            )
        return blurred
