"""Tiny networks of ImageNet's kind in public layouts, with seeded weights."""

import dataclasses
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxadv.weights import layouts
from jaxadv.weights.layouts import base
from tests.paths import GOLDEN
from tests.weights.layouts import resnet_shapes
from tests.weights.patch_layouts import convnext_shapes, swin_shapes, vit_shapes

FILE = GOLDEN / "imagenet_networks.json"
PROBES = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """A layout, tensors that are smaller than its files', and what those do not tell.

    Attributes:
      arch: name of the layout.
      shapes: of the tensors, by name.
      images: [n, h, w, c] of the images.
      fields: of the module, beside those that the shapes tell.
    """

    arch: str
    shapes: Mapping[str, tuple[int, ...]]
    images: tuple[int, ...] = (2, 64, 64, 3)
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def state(self):
        """Tensors that a seed and their names determine."""
        return {name: _tensor(name, shape) for name, shape in self.shapes.items()}

    def inputs(self):
        return np.random.default_rng(1).standard_normal(self.images, np.float32)

    def converted(self):
        """The linen module and its variables."""
        layout = layouts.LAYOUTS[self.arch]
        own = {"fields": lambda size: {**layout.fields(size), **self.fields}}
        if "image_size" in self.fields:
            own["side"] = lambda size: self.fields["image_size"]
        return base.convert(self.state(), dataclasses.replace(layout, **own), self.arch)


def _tensor(name, shape):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    place, _, kind = name.rpartition(".")
    # So small that the constant of the normalization behind them matters.
    scale = 0.004 if {place, name} & _FAINT else 1.0
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if kind in ("bias", "running_mean"):
        return (scale * rng.uniform(-0.3, 0.3, shape)).astype(np.float32)
    if kind in ("gamma", "running_var") or (kind == "weight" and len(shape) == 1):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if kind == "weight":
        scale *= np.sqrt(2 / np.prod(shape[1:]))
    return (scale * rng.standard_normal(shape)).astype(np.float32)


_FAINT = {"stem.0", "stem.stem.0", "patch_embed.proj", "patch_embed.proj.stem.0",
          "cls_token", "pos_embed"}  # fmt: skip


def probed(tap, index):
    """[n, PROBES]: weighted sums of a feature map [n, h, w, c] that show its layout."""
    rng = np.random.default_rng(index)
    weights = rng.standard_normal((PROBES, *tap.shape[1:])) / np.sqrt(tap[0].size)
    return np.einsum("nhwc,phwc->np", np.asarray(tap, np.float64), weights)


def golden():
    return json.loads(FILE.read_text())


CASES = {
    "resnet50_imagenet": Case(
        "resnet50_imagenet",
        resnet_shapes((1, 1), True, "downsample", "fc", 7, width=64),
        (2, 40, 33, 3),
        {"stage_sizes": (1, 1)},
    ),
    "wide_resnet50_2": Case(
        "wide_resnet50_2",
        resnet_shapes((1, 1), True, "downsample", "fc", 7, width=64, widen=2),
        (2, 40, 33, 3),
        {"stage_sizes": (1, 1)},
    ),
    # Sides that no stride divides.
    "convnext_t": Case(
        "convnext_t",
        convnext_shapes((1, 1, 2, 1), 6),
        (2, 70, 45, 3),
        {"stage_sizes": (1, 1, 2, 1)},
    ),
    "convnext_t_convstem": Case(
        "convnext_t_convstem",
        convnext_shapes((1, 1, 2, 1), 8, (4, 8)),
        (2, 47, 66, 3),
        {"stage_sizes": (1, 1, 2, 1)},
    ),
    "convnext_b_convstem": Case(
        "convnext_b_convstem",
        convnext_shapes((1, 1, 2, 1), 8, (4, 6, 8)),
        (2, 47, 66, 3),
        {"stage_sizes": (1, 1, 2, 1)},
    ),
    "vit_s16": Case(
        "vit_s16",
        vit_shapes(4, 12, patch=8, grid=4),
        (2, 32, 32, 3),
        {"depth": 4},
    ),
    "vit_b16": Case(
        "vit_b16",
        vit_shapes(2, 24, grid=2),
        (2, 32, 32, 3),
        {"depth": 2},
    ),
    "vit_s16_convstem": Case(
        "vit_s16_convstem",
        vit_shapes(2, 18, grid=3, stem=(4, 8, 16, 32)),
        (2, 48, 48, 3),
        {"depth": 2},
    ),
    # Shifted windows in both stages, four of them on a side in the first.
    "swin_t": Case(
        "swin_t",
        swin_shapes((2, 2), 6, heads=3, window=3),
        (2, 48, 48, 3),
        {"stage_sizes": (2, 2), "image_size": 48},
    ),
    # A last stage that one window covers.
    "swin_b": Case(
        "swin_b",
        swin_shapes((2, 2, 2), 4, heads=2, window=2),
        (2, 32, 32, 3),
        {"stage_sizes": (2, 2, 2), "image_size": 32},
    ),
}
