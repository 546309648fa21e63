"""How foreign state dictionaries name the weights of our networks."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from jaxadv import specs
from jaxadv.models import MODELS

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))

_ALEXNET = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "dense1": "classifier.1",
    "dense2": "classifier.4",
    "head": "classifier.6",
}
_VGG = {
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


def _by_table(table):
    return lambda path: table[path[0]]


def _resnet(shortcut, head):
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


def _wide_resnet(path):
    if len(path) == 1:
        return {"stem": "conv1", "final_norm": "bn1", "head": "fc"}[path[0]]
    stage, block = re.findall(r"\d+", path[0])
    part = {"shortcut": "convShortcut"}.get(path[1], path[1].replace("norm", "bn"))
    return f"block{stage}.layer.{int(block) - 1}.{part}"


_ROBUSTNESS = _resnet("shortcut", "linear")
_TORCHVISION = _resnet("downsample", "fc")
NAMES: dict[str, Callable[[tuple[str, ...]], str]] = {
    "alexnet": _by_table(_ALEXNET),
    "cifar_alexnet": _by_table(_ALEXNET),
    "vgg16": _by_table(_VGG),
    **{f"resnet{depth}": _ROBUSTNESS for depth in (18, 34, 50)},
    **{f"resnet{depth}_imagenet": _TORCHVISION for depth in (18, 34, 50)},
    "wrn_28_10": _wide_resnet,
    "wrn_34_10": _wide_resnet,
}
"""Architecture -> (path of our module -> its name in the layout that is read).

AlexNet and VGG are torchvision's, the CIFAR AlexNet perceptual-advex's. The ResNets
are those of the robustness package and kuangliu's CIFAR models, with an ImageNet stem
torchvision's; the wide ones are those of TRADES.
"""

TRUNKS = {
    "alexnet": ("conv1", "conv5"),
    "cifar_alexnet": ("conv1", "conv5"),
    "vgg16": ("conv1_1", "conv5_3"),
}
"""Architectures that a distance can use without their dense layers -> the first and
the last of their convolutions."""

_NO_HEAD = "; without its dense layers it is a distance: set trunk=True (--trunk)"
_UNUSED = re.compile(r"(^|\.)num_batches_tracked$|^sub_block1\.")
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def normalization(arch: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, in [0, 1] units, that `arch` is trained with.

    ImageNet's for AlexNet (its CIFAR form too), VGG and the ImageNet ResNets, those
    of CIFAR-10 in the robustness package for the CIFAR ResNets, none for the wide
    ones, as in TRADES.

    Raises:
      UsageError: the architecture is unknown.
    """
    specs.lookup(arch, NAMES, "arch")
    if arch.startswith("wrn"):
        return (0.0,), (1.0,)
    return _CIFAR if arch in ("resnet18", "resnet34", "resnet50") else _IMAGENET


def convert(
    tensors: Mapping[str, np.ndarray], arch: str, trunk: bool = False
) -> tuple[nn.Module, dict[str, Any]]:
    """The network that foreign tensors belong to, and its variables.

    The numbers of classes, channels and hidden units are taken from the shapes. Every
    tensor is used exactly once; only `num_batches_tracked` and the `sub_block1` of
    TRADES, which no output depends on, are left out.

    Args:
      tensors: name -> array in PyTorch's axis order, as `read` returns it.
      arch: a name of `NAMES`.
      trunk: leave out the dense layers of AlexNet or VGG.

    Returns:
      The module and its float32 variables.

    Raises:
      UsageError: a tensor is missing, superfluous or of another shape, or `arch` is
        unknown or has no trunk.
    """
    name_of = specs.lookup(arch, NAMES, "arch")
    if trunk and arch not in TRUNKS:
        raise specs.UsageError(f"trunk is for {', '.join(TRUNKS)}; {arch} has none")
    dense = "classifier." if trunk else None
    found = {
        name: value
        for name, value in tensors.items()
        if not (_UNUSED.search(name) or (dense and name.startswith(dense)))
    }
    module, images = _module(found, arch, trunk)
    wanted: dict[Any, Any] = traverse_util.flatten_dict(abstract(module, images))
    names = {p: f"{name_of(p[1:-1])}.{_LEAVES[p[-1]]}" for p in wanted}
    shapes = {names[p]: _foreign_shape(p, leaf.shape) for p, leaf in wanted.items()}
    _check_match(found, shapes, arch)
    # Only the dense layers after feature maps depend on how those are flattened.
    last = TRUNKS[arch][1] if arch in TRUNKS else "head"
    channels = wanted["params", last, "bias"].size
    flat = {path: _reordered(found[names[path]], path, channels) for path in wanted}
    return module, traverse_util.unflatten_dict(flat)


def abstract(module: nn.Module, images: tuple[int, ...]) -> dict[str, Any]:
    """The shapes of a module's variables for images [n, h, w, c]; computes nothing."""
    like = jax.ShapeDtypeStruct(images, jnp.float32)
    return dict(jax.eval_shape(module.init, jax.random.key(0), like))


def _module(tensors, arch, trunk):
    """The module that fits the tensors, and a shape of images that fits both."""

    def size(axis, *path):
        name = NAMES[arch](path) + ".weight"
        if name in tensors and tensors[name].ndim > axis:
            return tensors[name].shape[axis]
        raise specs.UsageError(
            f"{arch}: the tensor {name} is missing or has too few axes; the file holds "
            f"{_listed(tensors)}" + (_NO_HEAD if arch in TRUNKS else "")
        )

    first, last = TRUNKS.get(arch, ("stem", "head"))
    fields, side = {}, 64 if arch == "alexnet" else 32
    if arch.startswith("wrn"):
        fields["widen_factor"] = max(1, size(0, "stage1_block1", "conv1") // 16)
    else:
        fields["width"] = size(0, first)
    if trunk:
        fields["trunk"] = True
    else:
        fields["num_classes"] = size(0, "head")
    if arch in TRUNKS and not trunk:
        fields["hidden"] = size(0, "dense1")
        if arch == "cifar_alexnet":
            cells = size(1, "dense1") // max(1, size(0, last))
            side = 16 * max(1, math.isqrt(cells))
    return MODELS[arch](**fields), (1, side, side, size(1, first))


def _foreign_shape(path, shape):
    """PyTorch's shape of one of our leaves: outputs first, then inputs."""
    if path[-1] != "kernel":
        return shape
    return (shape[-1], shape[-2], *shape[:-2])


def _check_match(found, shapes, arch):
    missing = {name: s for name, s in shapes.items() if name not in found}
    unused = {name: v.shape for name, v in found.items() if name not in shapes}
    if missing or unused:
        parts = [
            f"{kind}: {_listed(dict(sorted(names.items())))}"
            for kind, names in (("missing", missing), ("not used", unused))
            if names
        ]
        raise specs.UsageError(
            f"the tensors are not those of {arch}; " + "; ".join(parts)
        )
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise specs.UsageError(
                f"{arch}: the tensor {name} has shape {found[name].shape}; expected "
                f"{shape}"
            )


def _listed(tensors, limit=3):
    """The first few names with their shapes, and how many more there are."""
    rows = [
        f"{name} {getattr(value, 'shape', value)}"
        for name, value in list(tensors.items())[:limit]
    ]
    more = len(tensors) - limit
    return ", ".join(rows) + (f" and {more} more" if more > 0 else "") or "nothing"


def _reordered(value, path, channels):
    """A tensor in our axis order, as contiguous float32.

    `channels` of the last feature maps tell how the first dense layer's inputs lie.
    """
    value = np.asarray(value, np.float32)
    if path[-1] == "kernel" and value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
    elif path[-1] == "kernel" and path[-2] == "dense1":
        value = _rows_by_pixel(value, channels)
    elif path[-1] == "kernel":
        value = value.T
    return np.ascontiguousarray(value)


def _rows_by_pixel(value, channels):
    """[o, c h w] to [h w c, o]: feature maps are flattened channels last here."""
    outputs, inputs = value.shape
    maps = value.reshape(outputs, channels, inputs // channels)
    return maps.transpose(2, 1, 0).reshape(inputs, outputs)
