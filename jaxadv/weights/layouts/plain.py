"""AlexNet and VGG: torchvision's, and the CIFAR AlexNet of perceptual-advex."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxadv.weights.layouts.base import Layout

ALEXNET = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "dense1": "classifier.1",
    "dense2": "classifier.4",
    "head": "classifier.6",
}
VGG = {
    **{
        f"conv{stage}_{index}": f"features.{first + 2 * (index - 1)}"
        for stage, first, last in ((1, 0, 2), (2, 5, 2), (3, 10, 3), (4, 17, 3),
                                   (5, 24, 3))
        for index in range(1, last + 1)
    },
    "dense1": "classifier.0",
    "dense2": "classifier.3",
    "head": "classifier.6",
}  # fmt: skip


def layout(
    model: str,
    table: Mapping[str, str],
    first: str,
    last: str,
    side: Callable[[Any], int],
    **more: Any,
) -> Layout:
    """A network of convolutions and three dense layers; `table` names its modules.

    Args:
      model: a key of `MODELS`.
      table: name of a module of ours -> what its tensors' names begin with.
      first: its first convolution.
      last: its last convolution.
      side: see `Layout`.
      **more: other fields of `Layout`.
    """

    def fields(size):
        width, hidden = size(0, first), size(0, "dense1")
        return {"width": width, "hidden": hidden, "num_classes": size(0, "head")}

    return Layout(
        model,
        lambda path: table[path[0]],
        "imagenet",
        fields,
        trunk=(first, last),
        first=first,
        side=side,
        **more,
    )


def _cifar_side(size):
    """AlexNet's maps are a sixteenth of the image; the dense layer has them all."""
    cells = size(1, "dense1") // max(1, size(0, "conv5"))
    return 16 * max(1, math.isqrt(cells))


LAYOUTS = {
    "alexnet": layout("alexnet", ALEXNET, "conv1", "conv5", lambda size: 64),
    "cifar_alexnet": layout("cifar_alexnet", ALEXNET, "conv1", "conv5", _cifar_side),
    "vgg16": layout("vgg16", VGG, "conv1_1", "conv5_3", lambda size: 32),
}
