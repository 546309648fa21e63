"""Vision transformers in timm's names, which DeiT's and RobustBench's files have."""

import math

from jaxadv.weights.layouts import base
from jaxadv.weights.layouts.base import Layout

_ENDS = {"final_norm": "norm", "head": "head"}


def _names(stem):
    """Names of which only that of the last layer before the tokens differs."""

    def name(path):
        if not path:
            return ""
        place, *inside = path
        if place == "stem":
            return stem
        if place.startswith("stem"):
            return f"patch_embed.proj.{base.in_conv_stem(place)}"
        if place in _ENDS:
            return _ENDS[place]
        block = int(place.removeprefix("block")) - 1
        return ".".join((f"blocks.{block}", *inside))

    return name


def _layout(name, statistics, conv=False):
    def patch(size):
        return 16 if conv else size(2, "stem")

    def side(size):
        # Positions are those of the patches and of the class token.
        return patch(size) * math.isqrt(max(1, size(1, leaf="pos_embed") - 1))

    def fields(size):
        return {
            "width": size(0, "stem"),
            "patch_size": patch(size),
            "image_size": side(size),
            "num_classes": size(0, "head"),
            **({"stem_width": size(0, "stem1")} if conv else {}),
        }

    stem, first = ("proj.stem.12", "stem1") if conv else ("proj", "stem")
    names = _names(f"patch_embed.{stem}")
    return Layout(name, names, statistics, fields, first=first, side=side)


LAYOUTS = {
    "vit_s16": _layout("vit_s16", "imagenet"),
    "vit_b16": _layout("vit_b16", "imagenet"),
    "vit_s16_convstem": _layout("vit_s16_convstem", "imagenet", conv=True),
    # This one was trained on images that are not normalized.
    "vit_b16_convstem": _layout("vit_b16_convstem", "none", conv=True),
}
