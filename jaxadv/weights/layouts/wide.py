"""Wide residual networks: TRADES' form and DeepMind's, which public ones have."""

from jaxadv.weights.layouts.base import Layout, by_blocks

_TRADES = by_blocks(
    {"stem": "conv1", "final_norm": "bn1", "head": "fc"},
    "block{stage}.layer.{block}",
    {"shortcut": "convShortcut"},
)
_DM = by_blocks(
    {"stem": "init_conv", "final_norm": "batchnorm", "head": "logits"},
    "layer.{index}.block.{block}",
    {
        "norm1": "batchnorm_0",
        "conv1": "conv_0",
        "norm2": "batchnorm_1",
        "conv2": "conv_1",
    },
)
_SIZES = ("28_10", "34_10", "34_15", "34_20", "40_2", "70_16")
_DM_SIZES = ("28_10", "34_10", "34_20", "70_16", "82_8", "94_16", "106_16")


def _fields(size):
    widen = max(1, size(0, "stage1_block1", "conv1") // 16)
    return {"widen_factor": widen, "num_classes": size(0, "head")}


LAYOUTS = {
    **{
        f"wrn_{size}": Layout(
            f"wrn_{size}", _TRADES, "none", _fields, unused=r"^sub_block1\."
        )
        for size in _SIZES
    },
    **{
        f"wrn_{size}_dm": Layout(f"wrn_{size}_dm", _DM, "cifar10", _fields)
        for size in _DM_SIZES
    },
}
