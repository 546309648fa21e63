"""A layout, and the conversion of tensors that have it."""

import dataclasses
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

Path = tuple[str, ...]
# (axis, *path of a module of ours, leaf="kernel") -> the length of an axis of one of
# its tensors, in PyTorch's order.
Size = Callable[..., int]

_COUNTS = r"(^|\.)num_batches_tracked$"
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


def residual_fields(size: Size) -> dict[str, Any]:
    """The width of the stem and the number of classes."""
    return {"width": size(0, "stem"), "num_classes": size(0, "head")}


def by_blocks(
    outside: Mapping[str, str], block: str, inside: Mapping[str, str]
) -> Callable[[Path], str]:
    """How a network of stages of blocks names its modules: `Layout.name`.

    Args:
      outside: our module beside the blocks -> theirs.
      block: their name of a block, of `{stage}` counted from 1, or `{index}`, that from
        0, and `{block}` from 0.
      inside: our module of a block -> theirs, where it is not ours with bn for norm.
    """

    def name(path):
        if len(path) == 1:
            return outside[path[0]]
        stage, number = map(int, re.findall(r"\d+", path[0]))
        place = block.format(stage=stage, index=stage - 1, block=number - 1)
        return f"{place}.{inside.get(path[1], path[1].replace('norm', 'bn'))}"

    return name


def in_conv_stem(part: str) -> str:
    """Where a layer of `patches.conv_stem`, such as "stem2_norm", lies in its code.

    There a convolution, its normalization and the activation stand in one sequence.
    """
    index, norm = int(part.removeprefix("stem")[0]), part.endswith("_norm")
    return f"stem.{3 * (index - 1) + norm}"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a public code names and lays out the tensors of one of our networks.

    Attributes:
      model: a key of `MODELS`.
      name: (path of a module of ours) -> what its tensors' names begin with; the path
        of what is the network's own is empty.
      statistics: the name in `NORMALIZATIONS` that goes with the code's own files.
      fields: the lengths of axes -> the fields of our module that they tell.
      optional: field of our module -> path of the module that it is True with; the
        tensors tell whether there is one.
      trunk: the first and the last convolution of a network that a distance can use
        without its dense layers, whose first one takes the flattened maps of the last
        convolution; None for others.
      first: the module that takes the images.
      side: pixels of the images that shapes are computed with, given the lengths.
      unused: pattern of tensors that no output depends on.
      spellings: name of a tensor that other files of the code have alone -> their
        `name`.
      constants: pattern of tensors whose numbers our module has of its own -> these
        numbers, which broadcast to the tensor.
    """

    model: str
    name: Callable[[Path], str]
    statistics: str
    fields: Callable[[Size], dict[str, Any]] = residual_fields
    optional: tuple[tuple[str, Path], ...] = ()
    trunk: tuple[str, str] | None = None
    first: str = "stem"
    side: Callable[[Size], int] = lambda size: 32
    unused: str = ""
    constants: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    spellings: Mapping[str, Callable[[Path], str]] = dataclasses.field(
        default_factory=dict
    )

    def spelled(self, tensors: Mapping[str, Any]) -> "Layout":
        """The layout with the names that a file's tensors have."""
        for sign, name in self.spellings.items():
            if sign in tensors:
                return dataclasses.replace(self, name=name)
        return self

    def tensor(self, path: Path) -> str:
        """The name of the tensor of a variable of ours, such as ("head", "kernel")."""
        stem, leaf = self.name(path[:-1]), path[-1]
        return ".".join(part for part in (stem, _LEAVES.get(leaf, leaf)) if part)


def convert(
    tensors: Mapping[str, np.ndarray], layout: Layout, arch: str, trunk: bool = False
) -> tuple[nn.Module, dict[str, Any]]:
    """The network that tensors of a layout belong to, and its variables.

    The numbers of classes, channels and hidden units are taken from the shapes. Every
    tensor is used exactly once; only `num_batches_tracked` and what no output depends
    on are left out, and constants are compared with ours.

    Args:
      tensors: name -> array in PyTorch's axis order, as `read` returns it.
      layout: theirs.
      arch: its name, for errors.
      trunk: leave out the dense layers.

    Returns:
      The module and its float32 variables.

    Raises:
      UsageError: a tensor is missing, superfluous or of another shape, or a constant
        is another one.
    """
    layout = layout.spelled(tensors)
    for pattern, numbers in layout.constants.items():
        _check_constants(tensors, pattern, numbers, arch)
    left = "|".join(filter(None, (_COUNTS, layout.unused, *layout.constants)))
    dense = "classifier." if trunk else None
    found = {
        name: value
        for name, value in tensors.items()
        if not (re.search(left, name) or (dense and name.startswith(dense)))
    }
    module, images = _module(found, layout, arch, trunk)
    wanted: dict[Any, Any] = traverse_util.flatten_dict(abstract(module, images))
    names = {path: layout.tensor(path[1:]) for path in wanted}
    shapes = {names[p]: _foreign_shape(p, leaf.shape) for p, leaf in wanted.items()}
    _check_match(found, shapes, arch)
    # Only the dense layers after feature maps depend on how those are flattened.
    channels = layout.trunk and wanted["params", layout.trunk[1], "bias"].size
    flat = {path: _reordered(found[names[path]], path, channels) for path in wanted}
    return module, traverse_util.unflatten_dict(flat)


def abstract(module: nn.Module, images: tuple[int, ...]) -> dict[str, Any]:
    """The shapes of a module's variables for images [n, h, w, c]; computes nothing."""
    like = jax.ShapeDtypeStruct(images, jnp.float32)
    return dict(jax.eval_shape(module.init, jax.random.key(0), like))


def _module(tensors, layout, arch, trunk):
    """The module that fits the tensors, and a shape of images that fits both."""

    def size(axis, *path, leaf="kernel"):
        name = layout.tensor((*path, leaf))
        if name in tensors and tensors[name].ndim > axis:
            return tensors[name].shape[axis]
        hint = "; without its dense layers it is a distance: set trunk=True (--trunk)"
        raise specs.UsageError(
            f"{arch}: the tensor {name} is missing or has too few axes; the file holds "
            f"{_listed(tensors)}" + (hint if layout.trunk else "")
        )

    if trunk:
        fields, side = {"width": size(0, layout.first), "trunk": True}, 64
    else:
        fields, side = layout.fields(size), layout.side(size)
        for field, path in layout.optional:
            start = f"{layout.name(path)}."
            fields[field] = any(name.startswith(start) for name in tensors)
    module = MODELS[layout.model](**fields)
    return module, (1, side, side, size(1, layout.first))


def _check_constants(tensors, pattern, numbers, arch):
    for name, value in tensors.items():
        if not re.search(pattern, name):
            continue
        like = value.shape[-numbers.ndim :] == numbers.shape
        if not like or not np.allclose(value, numbers, rtol=0, atol=1e-6):
            raise specs.UsageError(
                f"{arch}: the tensor {name} {value.shape} is not the constant that the "
                f"network has: {np.round(numbers, 5).tolist()}"
            )


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
    elif path[-1] == "kernel" and path[-2] == "dense1" and channels:
        value = _rows_by_pixel(value, channels)
    elif path[-1] == "kernel":
        value = value.T
    return np.ascontiguousarray(value)


def _rows_by_pixel(value, channels):
    """[o, c h w] to [h w c, o]: feature maps are flattened channels last here."""
    outputs, inputs = value.shape
    maps = value.reshape(outputs, channels, inputs // channels)
    return maps.transpose(2, 1, 0).reshape(inputs, outputs)
