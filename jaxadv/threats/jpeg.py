"""JPEG: balls around the image's compressed coefficients."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import numerics, specs, struct
from jaxadv.numerics import projections


def _table(text):
    return np.array(text.split(), np.float32).reshape(8, 8)


# Annex K of the JPEG standard (ITU-T T.81, 1992): rows are vertical frequencies.
_LUMA = _table("""
16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56
14 17 22 29 51 87 80 62  18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92
49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99""")
_CHROMA = _table(
    """
17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99
47 66 99 99 99 99 99 99"""
    + 32 * " 99"
)


def _cosines():
    """[8, 8] orthonormal DCT-II: row k is the wave of frequency k."""
    k, place = np.arange(8)[:, None], np.arange(8)[None]
    waves = np.cos((2 * place + 1) * k * math.pi / 16) / 2
    return np.where(k == 0, waves / math.sqrt(2), waves).astype(np.float32)


def planes(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Counts of blocks (down, across) of luma and, for colors, of Cb and Cr.

    Chroma has half the resolution. The last blocks may reach beyond the image.

    Args:
      shape: [h, w, 1] or [h, w, 3].

    Raises:
      UsageError: another number of channels.
    """
    height, width, channels = shape
    if channels not in (1, 3):
        raise specs.UsageError(
            f"Jpeg: the image has {channels} channels; it needs 3 (RGB) or 1 (gray)"
        )
    sides = (8,) if channels == 1 else (8, 16, 16)
    return [(math.ceil(height / n), math.ceil(width / n)) for n in sides]


def decode(coefficients: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The change of an image, [h, w, c], by a change of its JPEG coefficients.

    Decoding is linear, so it is the same at every image.

    Args:
      coefficients: [n] in quantization steps of quality 50: block after block,
        each [8, 8], of luma, Cb and Cr.
      shape: of the image.

    Returns:
      In units of pixel values up to 255, not clipped.
    """
    pieces, start = [], 0
    cosines = jnp.array(_cosines())
    for index, (down, across) in enumerate(planes(shape)):
        stop = start + down * across * 64
        blocks = coefficients[start:stop].reshape(down, across, 8, 8)
        blocks = blocks * (_CHROMA if index else _LUMA)
        plane = jnp.einsum(
            "abkl,ki,lj->aibj", blocks, cosines, cosines,
            precision=jax.lax.Precision.HIGHEST,
        ).reshape(down * 8, across * 8)  # fmt: skip
        if index:
            plane = jnp.repeat(jnp.repeat(plane, 2, axis=0), 2, axis=1)
        pieces.append(plane[: shape[0], : shape[1]])
        start = stop
    if len(pieces) == 1:
        return pieces[0][..., None]
    y, cb, cr = pieces
    green = y - 0.344136 * cb - 0.714136 * cr
    return jnp.stack([y + 1.402 * cr, green, y + 1.772 * cb], axis=-1)


@struct.dataclass
class Jpeg:
    """The image's JPEG coefficients move inside an lp ball; nothing is rounded.

    Parameters are the changes of all coefficients in one vector [n], see `decode`.
    They and `eps` are in HALF quantization steps at quality 50: the unit of the
    published code and of its calibrated budgets, where 1 just reaches what rounding
    would undo. `size` is the norm of the parameters.

    Source: Kang, Sun, Hendrycks, Brown and Steinhardt, "Testing robustness against
    unforeseen adversaries", 2019, section 3, whose text has whole steps. Their code
    perturbs what is left after halving the resolution of the chroma, so that a zero
    perturbation changes the image; here the change is added to the image itself.
    Sides that are no multiple of 8 (16 for chroma) end in blocks of which the part
    outside is dropped.

    Attributes:
      eps: the budget; calibrated values in `evaluation.calibration`.
      ball: the norm of the change of the coefficients.
      fraction: the share of the coefficients that one step moves, for "l1".
      most: the largest change of one coefficient, for "l1".

    Raises:
      UsageError: the image has neither 1 nor 3 channels.
    """

    eps: float = specs.leaf(minimum=0.0)
    ball: str = specs.static("linf", choices=("linf", "l2", "l1"))
    fraction: float = specs.static(0.01, minimum=0.0, maximum=1.0)
    most: float = specs.leaf(2.0, minimum=0.0)

    __post_init__ = specs.check

    @property
    def budget(self) -> Any:
        return self.eps

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        count = sum(64 * down * across for down, across in planes(image.shape))
        start = numerics.uniform_in_ball(key, (count,), self.ball, self.eps)
        return self.project(start, image)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        change = decode(params / 2, image.shape) / 255
        return numerics.clip(image + change, 0.0, 1.0)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        if self.ball == "l1":
            blocked = params * jnp.sign(grad) >= self.most
            grad = jnp.where(blocked, 0.0, grad)
        return numerics.steepest(grad, self.ball, self.fraction)

    def project(self, params: Any, image: jax.Array) -> Any:
        if self.ball == "l1":
            most = jnp.asarray(self.most)
            return projections.project_l1(params, self.eps, -most, most)
        params = numerics.finite_or_zero(params)
        if self.ball == "linf":
            return jnp.clip(params, -self.eps, self.eps)
        return numerics.shrink(params, self.ball, self.eps)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return numerics.safe_norm(params, self.ball)
