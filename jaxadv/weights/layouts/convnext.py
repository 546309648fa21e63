"""ConvNeXts in timm's names, which RobustBench's files have."""

import re

from jaxadv.weights.layouts import base
from jaxadv.weights.layouts.base import Layout

_ENDS = {
    "stem": "stem.0",
    "stem_norm": "stem.1",
    "final_norm": "head.norm",
    "head": "head.fc",
}
_BETWEEN = {"norm": "downsample.0", "conv": "downsample.1"}


def _name(path):
    if path[0] in _ENDS:
        return _ENDS[path[0]]
    if path[0].startswith("stem"):
        return f"stem.{base.in_conv_stem(path[0])}"
    place, _, part = path[0].partition("_")
    stage = f"stages.{int(place.removeprefix('stage')) - 1}"
    if part in _BETWEEN:
        return f"{stage}.{_BETWEEN[part]}"
    block = int(*re.findall(r"\d+", part)) - 1
    inside = ("conv_dw" if inner == "conv" else inner for inner in path[1:])
    return ".".join((stage, f"blocks.{block}", *inside))


def _fields(size):
    return {"width": size(0, "stage1_block1", "conv"), "num_classes": size(0, "head")}


LAYOUTS = {
    f"convnext_{kind}{form}": Layout(
        f"convnext_{kind}{form}", _name, statistics, _fields, first=first
    )
    for form, statistics, first in (
        ("", "imagenet", "stem"),
        # These were trained on images that are not normalized.
        ("_convstem", "none", "stem1"),
    )
    for kind in ("t", "s", "b", "l")
}
