"""ResNets: of the robustness package and kuangliu's models, torchvision's, Cohen's."""

from jaxadv.weights.layouts import base
from jaxadv.weights.layouts.base import Layout, by_blocks


def _names(shortcut, head):
    """`shortcut` and `head` are what the layouts differ in."""
    outside = {"stem": "conv1", "stem_norm": "bn1", "head": head}
    inside = {"shortcut": f"{shortcut}.0", "shortcut_norm": f"{shortcut}.1"}
    return by_blocks(outside, "layer{stage}.{block}", inside)


def _wide_fields(size):
    """As those of the others, and how wide the bottlenecks are."""
    fields = base.residual_fields(size)
    inner = size(0, "stage1_block1", "conv1")
    return {**fields, "widen_factor": max(1, inner // max(1, fields["width"]))}


_CIFAR, _IMAGENET = _names("shortcut", "linear"), _names("downsample", "fc")
LAYOUTS = {
    f"resnet{depth}{form}": Layout(f"resnet{depth}{form}", names, statistics)
    for form, names, statistics in (
        ("", _CIFAR, "cifar10_robustness"),
        ("_imagenet", _IMAGENET, "imagenet"),
    )
    for depth in (18, 34, 50)
}
# Of randomized smoothing (Cohen et al., 2019), which names them as torchvision does.
LAYOUTS["resnet110"] = Layout("resnet110", _IMAGENET, "cifar10_robustness")
LAYOUTS["wide_resnet50_2"] = Layout(
    "wide_resnet50_2", _IMAGENET, "imagenet", _wide_fields
)
