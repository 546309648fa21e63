"""Wide residual networks: TRADES' form, which most public CIFAR networks have."""

import re

from jaxadv.weights.layouts.base import Layout


def _trades(path):
    if len(path) == 1:
        return {"stem": "conv1", "final_norm": "bn1", "head": "fc"}[path[0]]
    stage, block = re.findall(r"\d+", path[0])
    part = {"shortcut": "convShortcut"}.get(path[1], path[1].replace("norm", "bn"))
    return f"block{stage}.layer.{int(block) - 1}.{part}"


def _fields(size):
    widen = max(1, size(0, "stage1_block1", "conv1") // 16)
    return {"widen_factor": widen, "num_classes": size(0, "head")}


LAYOUTS = {
    name: Layout(name, _trades, "none", _fields, unused=r"^sub_block1\.")
    for name in ("wrn_28_10", "wrn_34_10")
}
