"""ResNets: of the robustness package and kuangliu's models, and torchvision's."""

import re

from jaxadv.weights.layouts.base import Layout


def _names(shortcut, head):
    """ResNet's modules; `shortcut` and `head` are what the layouts differ in."""
    names = {"stem": "conv1", "stem_norm": "bn1", "head": head}
    inside = {"shortcut": f"{shortcut}.0", "shortcut_norm": f"{shortcut}.1"}

    def name(path):
        if len(path) == 1:
            return names[path[0]]
        stage, block = re.findall(r"\d+", path[0])
        part = inside.get(path[1], path[1].replace("norm", "bn"))
        return f"layer{stage}.{int(block) - 1}.{part}"

    return name


_CIFAR, _IMAGENET = _names("shortcut", "linear"), _names("downsample", "fc")
LAYOUTS = {
    f"resnet{depth}{form}": Layout(f"resnet{depth}{form}", names, statistics)
    for form, names, statistics in (
        ("", _CIFAR, "cifar10_robustness"),
        ("_imagenet", _IMAGENET, "imagenet"),
    )
    for depth in (18, 34, 50)
}
