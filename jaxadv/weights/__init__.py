"""Import of weights trained elsewhere, without PyTorch and without running pickles.

    module, variables, mean, std = weights.load(weights.find("alexnet"), "alexnet")
    model = Classifier.from_linen(module, variables, mean, std)

`python -m jaxadv.weights` shows what a file holds and converts it to our own form.
"""

from jaxadv.weights.files import (
    ENDINGS,
    MissingWeights,
    Weights,
    find,
    load,
    lpips_linear,
    read,
    save,
)
from jaxadv.weights.layouts import NAMES, TRUNKS, convert, normalization

__all__ = [
    "ENDINGS",
    "NAMES",
    "TRUNKS",
    "MissingWeights",
    "Weights",
    "convert",
    "find",
    "load",
    "lpips_linear",
    "normalization",
    "read",
    "save",
]
