"""How near an image is to itself shifted, with the blurs of shift-tolerant networks.

    python -m benchmarks.papers.perceptual.shifts [--data=shapes/64] [--examples=64]

Needs the package stlpips_pytorch. Two windows of one image, 1, 2 and 3 pixels apart,
are compared by the learned distance, once as it is and once with every blur replaced by
plain striding, which keeps the pixels that the blur is centered at. The official LPIPS
has other weights, which no package carries; here only the blurs differ. A column has
the distance to the image with Gaussian noise of 0.05.
"""

import argparse
from unittest import mock

import jax
import numpy as np

from benchmarks.timing import table
from jaxadv.data import sources
from jaxadv.models import blur
from jaxadv.perceptual import Lpips, networks
from jaxadv.weights.packages import NETWORKS

SHIFTS = (1, 2, 3)
DOWNSAMPLING = {"blurred": blur._TAPS, "strided": (0.0, 1.0, 0.0)}


def distances(net, taps, pairs):
    """Mean distance of each list of pairs."""
    metric = Lpips(networks.pretrained(net), linear=net, squared=True)

    def mapped(metric, *images):  # anew for each filter, so that it is traced anew
        return jax.lax.map(lambda pair: metric(*pair), images, batch_size=16)

    with mock.patch.object(blur, "_TAPS", taps):
        run = jax.jit(mapped)
        return [float(np.mean(run(metric, *pair))) for pair in pairs]


def pairs_of(images):
    """The windows of each shift, and the noisy images."""
    width = images.shape[2] - max(SHIFTS)
    first = images[:, :, :width]
    noise = 0.05 * np.random.default_rng(0).standard_normal(first.shape)
    noisy = np.clip(first + noise, 0, 1).astype(np.float32)
    return [*((first, images[:, :, s : s + width]) for s in SHIFTS), (first, noisy)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="shapes/64")
    parser.add_argument("--examples", type=int, default=64)
    args = parser.parse_args()
    source = sources.load(args.data, "test", None)
    images = np.float32(source.get(np.arange(args.examples))["image"]) / 255
    rows = []
    for net in NETWORKS:
        for name, taps in DOWNSAMPLING.items():
            found = distances(net, taps, pairs_of(images))
            rows.append([net, name, *(f"{value:.4f}" for value in found)])
    print(f"mean distance over {args.examples} images of {args.data}")
    table(["network", "", *(f"{s} px" for s in SHIFTS), "noise"], rows)


if __name__ == "__main__":
    main()
