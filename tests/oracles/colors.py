"""CIELUV and the lookup of a color table, in float64 and color by color.

The matrices have the four digits, and the divisions the constants, of the published
ReColorAdv code, whose quirks this shows: test vectors of a transcription of that code
are reproduced (see `tests/threats/test_recolor.py`).
"""

import numpy as np

XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9504]]
RGB = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
WHITE = (0.1978, 0.4683)


def to_luv(color):
    """Scaled L, u and v of one sRGB color [3]."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color
    ]
    x, y, z = np.array(XYZ) @ linear
    total = x + 15 * y + 3 * z + 1e-10
    low = y <= (6 / 29) ** 3
    lightness = (29 / 3) ** 3 * y if low else 116 * np.cbrt(y) - 16
    u = 13 * lightness * (4 * x / total - WHITE[0])
    v = 13 * lightness * (9 * y / total - WHITE[1])
    return np.array([lightness / 100, (u + 100) / 200, (v + 100) / 200])


def from_luv(luv, matrix=RGB):
    """The sRGB color [3] of scaled L, u and v."""
    lightness, u, v = 100 * luv[0], 200 * luv[1] - 100, 200 * luv[2] - 100
    u = u / (13 * lightness + 1e-10) + WHITE[0]
    v = v / (13 * lightness + 1e-10) + WHITE[1]
    high = lightness > 8
    y = ((lightness + 16) / 116) ** 3 if high else lightness * (3 / 29) ** 3
    x = y * 9 * u / (4 * v + 1e-10)
    z = y * (12 - 3 * u - 20 * v) / (4 * v + 1e-10)
    linear = np.array(matrix) @ np.clip([x, y, z], 0, 1.1)
    curve = 1.055 * np.maximum(linear, 1e-10) ** (1 / 2.4) - 0.055
    return np.clip(np.where(linear <= 0.0031308, 12.92 * linear, curve), 0, 1)


def lookup(table, place):
    """The table [a, b, c, 3] at one place in [0, 1]^3; outside, at the nearest edge."""
    counts = np.array(table.shape[:3])
    spot = np.clip(place, 0, 1) * (counts - 1)
    low = np.minimum(spot.astype(int), counts - 2)
    part, found = spot - low, np.zeros(3)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(np.array(corner) == 1, part, 1 - part))
        found += weight * table[tuple(low + corner)]
    return found


def identity_table(counts=(16, 32, 32)):
    """[*counts, 3], the colors of the nodes themselves."""
    axes = [np.linspace(0, 1, n) for n in counts]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def published(table, color):
    """The published recoloring: the table holds colors, not offsets."""
    return from_luv(lookup(table, to_luv(color)))
