"""ReColorAdv: one function from colors to colors, applied to every pixel."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import numerics, specs, struct
from jaxadv.threats import base

# sRGB to XYZ under D65, and the white point's (u', v'), to the four digits of the
# public ReColorAdv code; the inverse is exact instead of rounded again.
_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9504]]
)
_RGB = np.linalg.inv(_XYZ)
_WHITE = (0.1978, 0.4683)
_TINY = 1e-10


def to_luv(image: jax.Array) -> jax.Array:
    """CIELUV of an sRGB image, each channel scaled to about [0, 1].

    Args:
      image: [h, w, 3] in [0, 1], or [h, w, 1] for lightness alone.

    Returns:
      L / 100, (u + 100) / 200 and (v + 100) / 200, or L / 100 alone. Saturated
      colors have u and v outside [0, 1]: pure red has (u + 100) / 200 = 1.375.
    """
    linear = _linear(image)
    if image.shape[-1] == 1:
        return _lightness(linear) / 100
    x, y, z = _mix(linear, _XYZ)
    lightness = _lightness(y)
    total = x + 15 * y + 3 * z + _TINY
    u = 13 * lightness * (4 * x / total - _WHITE[0])
    v = 13 * lightness * (9 * y / total - _WHITE[1])
    return jnp.stack([lightness / 100, (u + 100) / 200, (v + 100) / 200], axis=-1)


def from_luv(luv: jax.Array) -> jax.Array:
    """The inverse of `to_luv`; colors that no screen shows are clipped to [0, 1]."""
    lightness = 100 * luv[..., 0]
    y = _luminance(lightness)
    if luv.shape[-1] == 1:
        return _gamma(numerics.clip(y, 0.0, 1.0))[..., None]
    u, v = 200 * luv[..., 1] - 100, 200 * luv[..., 2] - 100
    # The textbook's u' and v' times 13 L: nothing is divided by a lightness of zero.
    a = u + 13 * lightness * _WHITE[0]
    b = jnp.maximum(v + 13 * lightness * _WHITE[1], 1e-3)
    x = y * 9 * a / (4 * b)
    z = y * (156 * lightness - 3 * a - 20 * b) / (4 * b)
    xyz = jnp.stack([x, y, z], axis=-1)
    mixed = jnp.stack(_mix(numerics.clip(xyz, 0.0, 1.1), _RGB), axis=-1)
    return _gamma(numerics.clip(mixed, 0.0, 1.0))


def _mix(channels, matrix):
    # Written out: matrix products have less than float32 precision on some devices.
    parts = [channels[..., k] for k in range(3)]
    return [
        sum(float(w) * p for w, p in zip(row, parts, strict=True)) for row in matrix
    ]


def _linear(rgb):
    return jnp.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _gamma(linear):
    high = jnp.maximum(linear, 0.0031308)
    curve = 1.055 * high ** (1 / 2.4) - 0.055
    return jnp.where(linear <= 0.0031308, 12.92 * linear, curve)


def _lightness(y):
    knee = (6 / 29) ** 3
    root = jnp.maximum(y, knee) ** (1 / 3)
    return jnp.where(y > knee, 116 * root - 16, (29 / 3) ** 3 * y)


def _luminance(lightness):
    return jnp.where(
        lightness > 8, ((lightness + 16) / 116) ** 3, lightness * (3 / 29) ** 3
    )


@struct.dataclass
class ReColor:
    """A smooth change of colors in CIELUV, the same for all pixels of one color.

    Parameters are a table of offsets over the color space, [*table, 3], read with
    trilinear interpolation; a pixel beyond the table takes the offset at its edge.
    Every offset is at most `eps` in each scaled channel (see `to_luv`), and `size`
    is the largest. Gray images have a table of lightness alone, [table[0], 1].

    Source: Laidlaw and Feizi, "Functional adversarial attacks", 2019, section 4;
    bounds of 0.03, 0.06 and 0.12 in Laidlaw, Singla and Feizi, "Perceptual
    adversarial robustness", 2021, table 4. Their public code reads colors, not
    offsets, from the table, so that saturated colors move before any attack (pure
    red becomes (0.83, 0.35, 0.19)); and it keeps the whole table inside the screen's
    colors, which moves three quarters of its nodes at once. Here a table of zeros is
    the identity, and the colors of the resulting image are clipped instead. That
    code takes Adam steps on margin + 0.0036 / eps * roughness.

    Attributes:
      eps: the bound.
      smooth: weight of `roughness`, as in `StAdv`; 0.06 is theirs.
      table: the number of nodes along L, u and v.

    Raises:
      UsageError: the image has neither 1 nor 3 channels.
    """

    eps: float = specs.leaf(0.06, minimum=0.0)
    smooth: float = specs.leaf(0.0, minimum=0.0)
    table: tuple[int, ...] = specs.static((16, 32, 32))

    def __post_init__(self):
        specs.check(self)
        if len(self.table) != 3 or min(self.table) < 1:
            raise specs.UsageError(
                f"ReColor.table is {self.table}; it must hold three positive counts"
            )

    @property
    def budget(self) -> Any:
        return self.eps

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        channels = image.shape[-1]
        if channels not in (1, 3):
            raise specs.UsageError(
                f"ReColor: the image has {channels} channels; it needs 3 (RGB) or 1"
            )
        shape = (*self.table[:channels], channels)
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0) * self.eps

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        luv = to_luv(image)
        nodes = params.shape[:-1]
        places = [luv[..., k] * (count - 1) for k, count in enumerate(nodes)]
        offset = base.sample(params, places, "nearest")
        change = from_luv(luv + offset) - from_luv(luv)
        still = jnp.all(offset == 0, axis=-1, keepdims=True)
        # Two compilations of from_luv may round differently; its gradient stays.
        change -= jax.lax.stop_gradient(jnp.where(still, change, 0.0))
        return numerics.clip(image + change, 0.0, 1.0)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return numerics.steepest(base.smoothed(grad, params, self.smooth), "linf")

    def project(self, params: Any, image: jax.Array) -> Any:
        return jnp.clip(numerics.finite_or_zero(params), -self.eps, self.eps)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return jnp.max(jnp.abs(params))

    def roughness(self, params: Any) -> Any:
        """Differences between neighboring offsets; see `base.roughness`."""
        return base.roughness(params)
