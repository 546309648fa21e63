"""Writes the distances of the package stlpips_pytorch, 0.0.2, to stlpips.json.

Needs torch, torchvision and the package. Beside the distances stand the mean and the
root mean square of each tap of the first image, which tell what differs first.

    python -m tests.golden.make_stlpips
"""

import contextlib
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from tests.golden import streams
from tests.golden.vision import torchvision  # noqa: F401  (the package imports it)

NETS = {"stlpips_alexnet": "alex", "stlpips_vgg16": "vgg"}
STORED = 12  # pairs


@contextlib.contextmanager
def absent_tools() -> Iterator[None]:
    """Stands for what the package imports and its distance never calls."""
    shell, summary = types.ModuleType("IPython"), types.ModuleType("torchsummary")
    shell.embed = summary.summary = None  # type: ignore[attr-defined]
    with mock.patch.dict(sys.modules, IPython=shell, torchsummary=summary):
        yield


def official(net):
    """The package's distance, with its weights."""
    with absent_tools():
        from stlpips_pytorch import stlpips

        return stlpips.LPIPS(net=NETS[net], variant="shift_tolerant", verbose=False)


def tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def distances(model, pairs, size=50) -> np.ndarray:
    """Of pairs of images [n, h, w, c] in [0, 1], `size` at a time."""
    found = []
    with torch.no_grad():
        for start in range(0, len(pairs[0]), size):
            some = (tensor(images[start : start + size]) for images in pairs)
            found.append(model(*some, normalize=True).flatten().numpy())
    return np.concatenate(found)


def taps(model, images):
    with torch.no_grad():
        return model.net(model.scaling_layer(2 * tensor(images) - 1))


def main():
    golden, pairs = {}, streams.shifted(STORED)
    for net in NETS:
        model = official(net)
        golden[net] = {
            "distances": distances(model, pairs).tolist(),
            "taps": streams.sums(taps(model, pairs[0][:1])),
        }
    path = Path(__file__).with_name("stlpips.json")
    path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
