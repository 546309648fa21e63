"""The learned weights of perceptual distances."""

import importlib.util
import os
from pathlib import Path

import numpy as np

from jaxadv import arrays, specs
from jaxadv.weights import tensors

_LPIPS_FILES = {"alexnet": "alex", "vgg16": "vgg", "squeeze": "squeeze"}


def lpips_linear(
    net: str, path: str | os.PathLike | None = None
) -> tuple[np.ndarray, ...]:
    """The learned weights of the LPIPS distance, version 0.1, one [c] for each layer.

    Zhang, Isola, Efros, Shechtman and Wang, "The Unreasonable Effectiveness of Deep
    Features as a Perceptual Metric" (2018), w_l of equation 1. They are read from
    the folder of the installed `lpips` package, which is not imported.

    Args:
      net: "alexnet", "vgg16" or "squeeze".
      path: another file to read them from.

    Raises:
      UsageError: the package or the file is absent, or it holds something else.
    """
    if net not in _LPIPS_FILES:
        raise specs.UsageError(f"net is {net!r}; allowed: {', '.join(_LPIPS_FILES)}")
    if path is None:
        package = importlib.util.find_spec("lpips")
        if package is None or package.origin is None:
            raise specs.UsageError(
                f"the learned LPIPS weights of {net} lie in the package lpips, which "
                "is not installed: pip install lpips --no-deps, or give a path"
            )
        path = Path(package.origin).parent / "weights" / "v0.1"
        path = path / f"{_LPIPS_FILES[net]}.pth"
    found = tensors.read(path)
    arrays.check_finite(found, str(path))
    wanted = [f"lin{i}.model.1.weight" for i in range(len(found))]
    for name in wanted:
        shape = found[name].shape if name in found else ()
        if len(shape) != 4 or shape[0] != 1 or shape[2:] != (1, 1):
            raise specs.UsageError(
                f"{path} does not hold LPIPS weights: {name} [1, c, 1, 1] is missing "
                f"among {', '.join(found)}"
            )
    return tuple(np.array(found[name], np.float32).reshape(-1) for name in wanted)
