"""Weights and images for the LPIPS values, drawn alike on both sides.

Every number comes from one `numpy.random.RandomState`, whose streams NumPy keeps as
they are. Arrays are drawn in the order of their convolutions, in PyTorch's axis
order, first the weight and then the bias.
"""

import numpy as np

# Place of each convolution in torchvision's `features`, and [out, in, kernel].
CONVOLUTIONS = {
    "alexnet": {
        0: (64, 3, 11),
        3: (192, 64, 5),
        6: (384, 192, 3),
        8: (256, 384, 3),
        10: (256, 256, 3),
    },
    "vgg16": {
        index: (after, before, 3)
        for index, before, after in (
            (0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256),
            (12, 256, 256), (14, 256, 256), (17, 256, 512), (19, 512, 512),
            (21, 512, 512), (24, 512, 512), (26, 512, 512), (28, 512, 512),
        )
    },
}  # fmt: skip
CHANNELS = {"alexnet": (64, 192, 384, 256, 256), "vgg16": (64, 128, 256, 512, 512)}
PAIRS = ("identical", "near", "far", "constant")


def backbone(net: str) -> dict[str, np.ndarray]:
    """Convolutions N(0, 2/fan_in), which keeps activations alive; biases N(0, 0.01)."""
    random, tensors = np.random.RandomState(20), {}
    for index, (after, before, kernel) in CONVOLUTIONS[net].items():
        scale = (2 / (before * kernel**2)) ** 0.5
        weight = scale * random.standard_normal((after, before, kernel, kernel))
        tensors[f"features.{index}.weight"] = weight.astype(np.float32)
        bias = 0.1 * random.standard_normal(after)
        tensors[f"features.{index}.bias"] = bias.astype(np.float32)
    return tensors


def linear(net: str) -> list[np.ndarray]:
    """Non-negative weights [c] of each tap."""
    random = np.random.RandomState(21)
    return [np.float32(random.uniform(0, 0.2, c)) for c in CHANNELS[net]]


def images() -> tuple[np.ndarray, np.ndarray]:
    """The first and second images [4, 64, 64, 3] of `PAIRS`, in [0, 1]."""
    random = np.random.RandomState(22)
    first, far = random.uniform(size=(2, 64, 64, 3))
    near = np.clip(first + 0.02 * random.standard_normal(first.shape), 0, 1)
    constant = np.full_like(first, 0.5)
    firsts = np.stack([first] * 4).astype(np.float32)
    return firsts, np.stack([first, near, far, constant]).astype(np.float32)


def shifted(count: int, shape=(34, 30)) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of smooth images [count, h, w, 3] in [0, 1].

    Of four pairs in a row the second images are the first ones shifted by 1, 2 and 3
    pixels to the left, what they show being larger than themselves, and noisy ones.
    """
    random, (height, width) = np.random.RandomState(23), shape
    larger = np.stack([_smooth(random, (height, width + 3)) for _ in range(count)])
    noise = 0.1 * random.standard_normal((count, height, width, 3))
    firsts, seconds = larger[:, :, :width], np.empty_like(noise)
    for i, image in enumerate(larger):
        step = (i + 1) % 4
        seconds[i] = image[:, step : step + width] + (noise[i] if step == 0 else 0)
    return np.float32(firsts), np.clip(seconds, 0, 1).astype(np.float32)


def _smooth(random, shape):
    """Waves of random directions, lengths and colors, and edges between them."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros((*shape, 3))
    for _ in range(6):
        angle, length, phase = random.uniform(size=3) * (np.pi, 12, 2 * np.pi)
        along = rows * np.cos(angle) + columns * np.sin(angle)
        wave = np.sin(along / (1 + length) + phase)
        wave = np.sign(wave) if length < 6 else wave
        image += wave[..., None] * random.standard_normal(3)
    return 1 / (1 + np.exp(-image))


def sums(taps) -> list[list[float]]:
    """Mean and root mean square of each tap, whatever its order of axes."""
    taps = [np.asarray(tap, np.float64) for tap in taps]
    return [[float(tap.mean()), float((tap**2).mean() ** 0.5)] for tap in taps]
