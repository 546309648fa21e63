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
