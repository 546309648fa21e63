"""Clouds, wave patterns and snowfall in float64, cell by cell."""

import math

import numpy as np


def plasma(levels, shift):
    """The diamond-square cloud, its draws `levels` in the order they are used.

    Args:
      levels: for each level the draws [n, n] of the squares' middles, then of the
        edges across and of the edges down.
      shift: 1 for true neighbors; 2 in the published adversarial fog.
    """
    side = 2 ** (len(levels) // 3)
    cloud, step, reach = np.zeros((side, side)), side, 100.0
    draws = iter(levels)
    while step >= 2:
        half, cells = step // 2, side // step
        back = shift * step
        for draw, kind in zip([next(draws) for _ in range(3)], "mad", strict=True):
            for a in range(cells):
                for b in range(cells):
                    r, c = a * step, b * step
                    if kind == "m":
                        at = [
                            (r, c),
                            (r + step, c),
                            (r, c + step),
                            (r + step, c + step),
                        ]
                        place = (r + half, c + half)
                    elif kind == "a":
                        at = [(r, c), (r, c + step), (r + half, c + half)]
                        at += [(r + half - back, c + half)]
                        place = (r, c + half)
                    else:
                        at = [(r, c), (r + step, c), (r + half, c + half)]
                        at += [(r + half, c + half - back)]
                        place = (r + half, c)
                    total = sum(cloud[i % side, j % side] for i, j in at)
                    cloud[place] = total / 4 + reach * (2 * draw[a, b] - 1)
        step, reach = half, reach / 2
    return cloud


def gabor_kernel(count, sides, deviation, frequency, angle):
    kernel = np.zeros((count, count))
    line = np.linspace(-0.5, 0.5, count)
    for i, y in enumerate(line):
        for j, x in enumerate(line):
            for s in range(sides):
                turned = angle + math.pi * s / sides
                along = x * math.cos(turned) + y * math.sin(turned)
                envelope = math.exp(-(x * x + y * y) / 2 / (deviation + 1e-3) ** 2)
                kernel[i, j] += envelope * math.cos(2 * math.pi * frequency * along)
    return kernel


def convolve(values, kernel):
    """[h, w] convolved with an odd square kernel, zeros beyond the border."""
    radius = len(kernel) // 2
    height, width = values.shape
    out = np.zeros((height + 2 * radius, width + 2 * radius))
    for i in range(height):
        for j in range(width):
            out[i : i + len(kernel), j : j + len(kernel)] += values[i, j] * kernel
    return out[radius : radius + height, radius : radius + width]


def leveled(noise):
    away = np.abs(noise - noise.mean())
    even = noise.mean() + (noise - noise.mean()) * 1.001 / (0.001 + away / away.max())
    return (even - even.min()) / (even.max() - even.min())


def fog(image, cloud, amount):
    """The image behind a cloud [h, w] in [0, 1]; the brightest value stays."""
    brightest = image.max()
    return (image + amount * cloud[..., None]) * brightest / (brightest + amount)


def snow(image, flakes, kernels, amount, whiten):
    """Flakes [7, h / 4, w / 4] drawn over a whitened image [h, w, 3]."""
    height, width = image.shape[:2]
    places = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)]
    fallen = np.zeros((height, width))
    for kind, (r, c) in enumerate(places):
        spots = np.zeros((height, width))
        for i in range(r, height, 4):
            for j in range(c, width, 4):
                spots[i, j] = flakes[kind, i // 4, j // 4] ** 4
        fallen += convolve(spots, kernels[kind])
    gray = image @ np.array([0.299, 0.587, 0.114])
    white = np.maximum(image, 1.5 * gray[..., None] + 0.5)
    whitened = (1 - whiten) * image + whiten * white
    return np.clip(whitened + amount * fallen[..., None], 0, 1)
