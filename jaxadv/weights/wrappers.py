"""What training codes wrap around a network, and leave in its state dictionary."""

from collections.abc import Mapping

import numpy as np

from jaxadv.weights.normalizations import Statistics

_NORMALIZER = ("normalizer.new_mean", "normalizer.new_std")
_SCALING = ("scaling_layer.shift", "scaling_layer.scale")
_PARTS = ("normalizer.", "attacker.", "scaling_layer.")


def unwrapped(
    named: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], Statistics | None]:
    """Tensors without what wrappers add, and the mean and deviation that one carries.

    The prefixes `module.` and `model.` are taken off; the normalizer and attacker of
    the robustness package, the scaling layer of LPIPS modules and the feature layers
    that perceptual-advex lists twice are left out.
    """
    named = _stripped(dict(named), "module.")
    statistics = _carried(named)
    named = {k: v for k, v in named.items() if not k.startswith(_PARTS)}
    if any(name.startswith("model.") for name in named):
        # The layers are the model's own, listed a second time.
        twice = [k for k in named if k.startswith("layer")]
        named = {k: v for k, v in named.items() if k not in twice}
    return _stripped(named, "model."), statistics


def _carried(named) -> Statistics | None:
    """Mean and deviation in [0, 1] units, of whoever wrapped the network."""
    mean, std = (named.get(name) for name in _NORMALIZER)
    shift, scale = (named.get(name) for name in _SCALING)
    if shift is not None and scale is not None:  # of images in [-1, 1]
        mean, std = (shift + 1) / 2, scale / 2
    if mean is None or std is None:
        return None
    return tuple(map(float, mean.ravel())), tuple(map(float, std.ravel()))


def _stripped(named, prefix):
    while named and all(name.startswith(prefix) for name in named):
        named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named
