"""Swin transformers in the names of timm, of now and of before 0.9.

The latter are also Microsoft's. RobustBench has files of both kinds.
"""

import math
import re

from jaxadv.models import swin
from jaxadv.weights.layouts.base import Layout

_ENDS = {"stem": "patch_embed.proj", "stem_norm": "patch_embed.norm",
         "final_norm": "norm"}  # fmt: skip
_BETWEEN = {"norm": "downsample.norm", "merge": "downsample.reduction"}
_STAGES = len(swin.Swin.stage_sizes)


def _names(head, merged_before):
    """Names; `merged_before` tells whether what unites tokens begins a stage."""

    def name(path):
        if path[0] in _ENDS:
            return _ENDS[path[0]]
        if path[0] == "head":
            return head
        place, _, part = path[0].partition("_")
        stage = int(place.removeprefix("stage")) - 1
        if part in _BETWEEN:
            return f"layers.{stage if merged_before else stage - 1}.{_BETWEEN[part]}"
        block = int(*re.findall(r"\d+", part)) - 1
        # The table of offsets is the block's own here, and the attention's there.
        inside = path[1:] or ("attn",)
        return ".".join((f"layers.{stage}.blocks.{block}", *inside))

    return name


def _window(size):
    """Its side: (2 side - 1)^2 are the offsets of two tokens in it."""
    offsets = size(0, "stage1_block1", leaf="relative_position_bias_table")
    return (math.isqrt(max(1, offsets)) + 1) // 2


def _side(size):
    """Pixels such that one window covers the last stage, as published."""
    return swin.PATCH * 2 ** (_STAGES - 1) * _window(size)


def _fields(size):
    return {
        "width": size(0, "stem"),
        "heads": size(1, "stage1_block1", leaf="relative_position_bias_table"),
        "window": _window(size),
        "image_size": _side(size),
        "num_classes": size(0, "head"),
    }


LAYOUTS = {
    name: Layout(
        name,
        _names("head.fc", True),
        "imagenet",
        _fields,
        side=_side,
        # Computed from the sizes, and kept in older files.
        unused=r"\.(relative_position_index|attn_mask)$",
        spellings={"layers.0.downsample.reduction.weight": _names("head", False)},
    )
    for name in ("swin_t", "swin_b", "swin_l")
}
