"""JPEG compression of one image in float64, without rounding, from the standard.

Written from ITU-T T.81 (1992), sections A.3.3 and K.1, and the full-range color
transform of JFIF 1.02. Test vectors of a transcription of the published attack are
reproduced by it (see `tests/threats/test_jpeg.py`), so it stands for both.
"""

import math

import numpy as np

LUMA = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
CHROMA = np.full((8, 8), 99.0)
CHROMA[:4, :4] = [
    [17, 18, 24, 47],
    [18, 21, 26, 66],
    [24, 26, 56, 99],
    [47, 66, 99, 99],
]


def wave(down, across, frequency_down, frequency_across):
    """One entry of the two-dimensional orthonormal cosine basis."""
    scale = 1.0
    for frequency in (frequency_down, frequency_across):
        scale *= math.sqrt(1 / 8) if frequency == 0 else 0.5
    return (
        scale
        * math.cos((2 * down + 1) * frequency_down * math.pi / 16)
        * math.cos((2 * across + 1) * frequency_across * math.pi / 16)
    )


BASIS = np.array(
    [
        [[[wave(i, j, k, m) for j in range(8)] for i in range(8)] for m in range(8)]
        for k in range(8)
    ]
)


def encode(plane, table):
    """[h / 8, w / 8, 8, 8] coefficients in quantization steps of `plane` [h, w]."""
    down, across = plane.shape[0] // 8, plane.shape[1] // 8
    found = np.zeros((down, across, 8, 8))
    for a in range(down):
        for b in range(across):
            block = plane[8 * a : 8 * a + 8, 8 * b : 8 * b + 8] - 128
            found[a, b] = np.sum(BASIS * block, axis=(2, 3)) / table
    return found


def decode(coefficients, table):
    """The plane [h, w] of coefficients in quantization steps."""
    down, across = coefficients.shape[:2]
    plane = np.zeros((8 * down, 8 * across))
    for a in range(down):
        for b in range(across):
            scaled = (coefficients[a, b] * table)[..., None, None]
            plane[8 * a : 8 * a + 8, 8 * b : 8 * b + 8] = np.sum(scaled * BASIS, (0, 1))
    return plane + 128


def halved(plane):
    return plane.reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2).mean((1, 3))


def doubled(plane):
    return np.repeat(np.repeat(plane, 2, axis=0), 2, axis=1)


def through(image, changes):
    """`image` [h, w, 3] up to 255 encoded, changed and decoded; not clipped.

    Args:
      image: sides are multiples of 16.
      changes: of the coefficients of luma, Cb and Cr, [h / 8, w / 8, 8, 8] each (16
        for chroma), in quantization steps.
    """
    r, g, b = np.moveaxis(image, -1, 0)
    planes = [
        0.299 * r + 0.587 * g + 0.114 * b,
        halved(128 - 0.168736 * r - 0.331264 * g + 0.5 * b),
        halved(128 + 0.5 * r - 0.418688 * g - 0.081312 * b),
    ]
    tables = [np.array(LUMA), CHROMA, CHROMA]
    y, cb, cr = (
        decode(encode(plane, table) + change, table)
        for plane, table, change in zip(planes, tables, changes, strict=True)
    )
    cb, cr = doubled(cb) - 128, doubled(cr) - 128
    green = y - 0.344136 * cb - 0.714136 * cr
    return np.stack([y + 1.402 * cr, green, y + 1.772 * cb], axis=-1)
