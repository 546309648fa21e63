"""The learned weights of perceptual distances."""

import os
import re

import numpy as np

from jaxadv import arrays, specs
from jaxadv.weights import packages, tensors


def lpips_linear(
    net: str, path: str | os.PathLike | None = None
) -> tuple[np.ndarray, ...]:
    """The learned weights of an LPIPS distance, one [c] for each layer.

    Zhang, Isola, Efros, Shechtman and Wang, "The Unreasonable Effectiveness of Deep
    Features as a Perceptual Metric" (2018), w_l of equation 1. They are read from
    the folder of an installed package, which is not imported: version 0.1 of those of
    AlexNet, VGG-16 and SqueezeNet from `lpips`, those of the shift-tolerant networks
    (Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric", 2022) from
    `stlpips_pytorch`.

    Args:
      net: a key of `packages.LINEAR`.
      path: another file to read them from.

    Raises:
      UsageError: the package or the file is absent, or it holds something else.
    """
    if net not in packages.LINEAR:
        known = ", ".join(packages.LINEAR)
        raise specs.UsageError(f"net is {net!r}; allowed: {known}")
    packaged = packages.LINEAR[net]
    path = packaged.path if path is None else path
    if path is None:
        raise specs.UsageError(
            f"the learned LPIPS weights of {net} lie in the package "
            f"{packaged.package}, which is not installed: {packaged.install}, or give "
            "a path"
        )
    every = tensors.read(path)
    # Some files hold the network too.
    found = {k: v for k, v in every.items() if re.match(r"lin\d+\.", k)}
    wanted = [f"lin{i}.model.1.weight" for i in range(max(len(found), 1))]
    for name in wanted:
        shape = found[name].shape if name in found else ()
        if len(shape) != 4 or shape[0] != 1 or shape[2:] != (1, 1):
            raise specs.UsageError(
                f"{path} does not hold LPIPS weights: {name} [1, c, 1, 1] is missing "
                f"among {', '.join(list(every)[:8])}"
            )
    arrays.check_finite(found, str(path))
    return tuple(np.array(found[name], np.float32).reshape(-1) for name in wanted)
