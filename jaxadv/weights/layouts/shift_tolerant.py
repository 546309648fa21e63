"""The networks of the shift-tolerant distance, in the layout of stlpips_pytorch.

Their files also hold the blur, which is a constant, and the learned weights of the
distance; see `weights.lpips_linear`.
"""

import numpy as np

from jaxadv.weights.layouts.plain import ALEXNET, VGG, layout

_ALEXNET = {
    **ALEXNET,
    "conv1": "net.slice1.0",
    "conv2": "net.slice2.5",
    "conv3": "net.slice3.9",
    "conv4": "net.slice4.11",
    "conv5": "net.slice5.13",
}
_VGG = {
    **VGG,
    **{
        f"conv{stage}_{index}": f"net.slice{stage}.{first + 2 * (index - 1)}"
        for stage, first, last in ((1, 0, 2), (2, 6, 2), (3, 12, 3), (4, 20, 3),
                                   (5, 28, 3))
        for index in range(1, last + 1)
    },
}  # fmt: skip
_BLUR = np.outer((1, 2, 1), (1, 2, 1)) / 16


LAYOUTS = {
    model: layout(
        model,
        table,
        first,
        last,
        lambda size: 64,
        unused=r"^lin\d+\.",
        constants={r"\.filt$": _BLUR},
    )
    for model, table, first, last in (
        ("stlpips_alexnet", _ALEXNET, "conv1", "conv5"),
        ("stlpips_vgg16", _VGG, "conv1_1", "conv5_3"),
    )
}
