"""How foreign state dictionaries name the weights of our networks; a file a family."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from jaxadv import specs
from jaxadv.weights.layouts import (
    base,
    convnext,
    plain,
    preact,
    residual,
    shift_tolerant,
    swin,
    vit,
    wide,
)
from jaxadv.weights.normalizations import NORMALIZATIONS, Statistics

LAYOUTS: dict[str, base.Layout] = {
    name: layout
    for family in (plain, residual, preact, wide, convnext, vit, swin, shift_tolerant)
    for name, layout in family.LAYOUTS.items()
}
"""Architecture -> its layout."""

NAMES = tuple(LAYOUTS)
TRUNKS = tuple(name for name, layout in LAYOUTS.items() if layout.trunk)
"""Architectures that a distance can use without their dense layers."""


def convert(
    tensors: Mapping[str, np.ndarray], arch: str, trunk: bool = False
) -> tuple[nn.Module, dict[str, Any]]:
    """The network that foreign tensors belong to, and its variables.

    Args:
      tensors: name -> array in PyTorch's axis order, as `read` returns it.
      arch: a name of `NAMES`.
      trunk: leave out the dense layers of AlexNet or VGG.

    Returns:
      The module and its float32 variables; see `base.convert`.

    Raises:
      UsageError: a tensor is missing, superfluous or of another shape, or `arch` is
        unknown or has no trunk.
    """
    layout = specs.lookup(arch, LAYOUTS, "arch")
    if trunk and not layout.trunk:
        raise specs.UsageError(f"trunk is for {', '.join(TRUNKS)}; {arch} has none")
    return base.convert(tensors, layout, arch, trunk)


def published(arch: str) -> Statistics:
    """Mean and deviation that go with the files of the code that `arch` is named by.

    Others have files of the same layout and other statistics: this is for networks
    that distances are measured in, not for those that are attacked.

    Raises:
      UsageError: the architecture is unknown.
    """
    return NORMALIZATIONS[specs.lookup(arch, LAYOUTS, "arch").statistics]
