"""What training codes wrap around a network, and leave in its state dictionary."""

from collections.abc import Mapping

import numpy as np

from jaxadv.weights.normalizations import Statistics

_STATISTICS = (("normalizer.new_mean", "normalizer.new_std"),)
_PARTS = ("normalizer.", "attacker.")


def unwrapped(
    named: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], Statistics | None]:
    """Tensors without what wrappers add, and the mean and deviation that one carries.

    The prefixes `module.` and `model.` are taken off; the normalizer and attacker of
    the robustness package and the feature layers that perceptual-advex lists twice
    are left out.
    """
    named = _stripped(dict(named), "module.")
    statistics = None
    for pair in _STATISTICS:
        if all(name in named for name in pair):
            mean, std = (tuple(map(float, named[name].ravel())) for name in pair)
            statistics = mean, std
    named = {k: v for k, v in named.items() if not k.startswith(_PARTS)}
    if any(name.startswith("model.") for name in named):
        # The layers are the model's own, listed a second time.
        twice = [k for k in named if k.startswith("layer")]
        named = {k: v for k, v in named.items() if k not in twice}
    return _stripped(named, "model."), statistics


def _stripped(named, prefix):
    while named and all(name.startswith(prefix) for name in named):
        named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named
