"""What training codes wrap around a network, and leave in its state dictionary."""

import re
from collections.abc import Mapping

import numpy as np

from jaxadv import specs
from jaxadv.weights.normalizations import Statistics

# Sequences of a normalization and a network name the network "1.".
_PREFIXES = ("module.", "model.", "1.")
# Of the network itself, RobustBench's normalization, the robustness package's, and the
# first module of a sequence.
_HOLDERS = ("", "normalize.", "normalizer.", "0.")
# Of LPIPS modules, for images in [-1, 1].
_SCALING = ("scaling_layer.shift", "scaling_layer.scale")
_PAIRS = (("mean", "std"), ("mu", "sigma"), ("new_mean", "new_std"))
# The layers of perceptual-advex are the model's own, listed a second time.
_LAYERS = re.compile(r"layer\d+\.")
_ATTACKER, _ITS_NORMALIZATION = "attacker.", "attacker.normalize."


def unwrapped(
    named: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], Statistics | None]:
    """Tensors without what wrappers add, and the mean and deviation that one carries.

    The prefixes `module.`, `model.` and `1.` are taken off where all tensors have them;
    the attacker of the robustness package, which holds the network once more, and the
    feature layers that perceptual-advex lists twice are left out. A mean without a
    deviation stays among the tensors.

    Raises:
      UsageError: two normalizations are carried, one is no row of numbers for the
        channels, or the attacker holds another network.
    """
    named, told = dict(named), []
    while True:
        told += _taken_out(named)
        named = _once(named)
        common = [p for p in _PREFIXES if named and all(n.startswith(p) for n in named)]
        if not common:
            break
        named = {name.removeprefix(common[0]): named[name] for name in named}
    if len(told) > 1:
        names = " and ".join(name for name, _ in told)
        raise specs.UsageError(
            f"it carries two normalizations, {names}; save the state dict of the "
            "network without what is wrapped around it"
        )
    return named, told[0][1] if told else None


def _taken_out(named) -> list[tuple[str, Statistics]]:
    """The names and numbers of normalizations, whose buffers leave `named`."""
    pairs = [[holder + part for part in pair] for holder in _HOLDERS for pair in _PAIRS]
    found = [
        (mean, (_row(mean, named.pop(mean)), _row(std, named.pop(std), positive=True)))
        for mean, std in (*pairs, _SCALING)
        if mean in named and std in named
    ]
    return [
        (name, _of_signed(pair) if name in _SCALING else pair) for name, pair in found
    ]


def _of_signed(pair) -> Statistics:
    """Mean and deviation in [0, 1] units, of those for images in [-1, 1]."""
    shift, scale = pair
    return tuple((s + 1) / 2 for s in shift), tuple(s / 2 for s in scale)


def _row(name, values, positive=False) -> tuple[float, ...]:
    """The numbers of a buffer [c], [c, 1, 1] or [1, c, 1, 1]."""
    if values.size == 0 or values.size != max(values.shape, default=1):
        wrong = f"has shape {values.shape}; it must have one number for each channel"
    elif positive and values.min() <= 0:
        wrong = f"is {values.ravel().tolist()}; a deviation must be > 0"
    else:
        return tuple(map(float, values.ravel()))
    raise specs.UsageError(f"{name} {wrong}: save the state dict without it")


def _once(named):
    """Without second copies of the network."""
    if not any(name.startswith("model.") for name in named):
        return named
    for name, value in named.items():
        if name.startswith(_ATTACKER) and not name.startswith(_ITS_NORMALIZATION):
            other = named.get(name.removeprefix(_ATTACKER))
            if other is None or not np.array_equal(value, other, equal_nan=True):
                raise specs.UsageError(
                    f"{name} is not {name.removeprefix(_ATTACKER)}, as if it held two "
                    "networks; save the state dict of one"
                )
    return {
        name: value
        for name, value in named.items()
        if not name.startswith(_ATTACKER) and not _LAYERS.match(name)
    }
