"""Import of weights trained elsewhere, without PyTorch and without running pickles.

    found = weights.load(weights.find("alexnet"), "alexnet", normalization="imagenet")
    model = Classifier.from_linen(*found)

`jaxadv.load` does both. `jaxadv weights` shows what a file holds and converts it to our
own form.
"""

from jaxadv.weights.files import (
    Content,
    MissingWeights,
    find,
    golden,
    load,
    read_content,
)
from jaxadv.weights.layouts import LAYOUTS, NAMES, TRUNKS, convert, published
from jaxadv.weights.linear import lpips_linear
from jaxadv.weights.normalizations import NORMALIZATIONS, statistics
from jaxadv.weights.own import Weights, save
from jaxadv.weights.sidecars import Golden
from jaxadv.weights.tensors import ENDINGS, read

__all__ = [
    "ENDINGS",
    "LAYOUTS",
    "NAMES",
    "NORMALIZATIONS",
    "TRUNKS",
    "Content",
    "Golden",
    "MissingWeights",
    "Weights",
    "convert",
    "find",
    "golden",
    "load",
    "lpips_linear",
    "published",
    "read",
    "read_content",
    "save",
    "statistics",
]
