"""Pre-activation ResNets: kuangliu's names, which RobustBench has, and DeepMind's."""

from jaxadv.weights.layouts.base import Layout, by_blocks

_KUANGLIU = by_blocks(
    {"stem": "conv1", "final_norm": "bn", "head": "linear"},
    "layer{stage}.{block}",
    {"shortcut": "shortcut.0"},
)
_DM = by_blocks(
    {"stem": "conv_2d", "final_norm": "batchnorm", "head": "logits"},
    "layer_{index}.{block}",
    {
        "norm1": "batchnorm_0",
        "conv1": "conv_2d_1",
        "norm2": "batchnorm_1",
        "conv2": "conv_2d_2",
    },
)
# kuangliu's networks, and some that others have trained, have no last normalization.
_OPTIONAL = (("final_norm", ("final_norm",)),)
LAYOUTS = {
    **{
        name: Layout(name, _KUANGLIU, "cifar10", optional=_OPTIONAL)
        for name in ("preact_resnet18", "preact_resnet18_fast")
    },
    "preact_resnet18_dm": Layout("preact_resnet18_dm", _DM, "cifar10"),
}
