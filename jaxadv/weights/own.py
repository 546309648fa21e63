"""Our own weight files: safetensors that say what network they hold."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from flax import linen as nn
from flax import traverse_util

from jaxadv import arrays, specs
from jaxadv.files import storage
from jaxadv.models import MODELS
from jaxadv.weights import layouts, tensors

# What is a choice of whoever computes, not a property of the weights.
_CHOSEN = ("compute_dtype", "remat")


class Weights(NamedTuple):
    """A network as `Classifier.from_linen(*weights)` takes it.

    Attributes:
      module: the linen module.
      variables: its float32 variables, NumPy arrays.
      mean: [c] or [1], of its images in [0, 1] units.
      std: [c] or [1], likewise.
    """

    module: nn.Module
    variables: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def is_own(about: Mapping[str, str]) -> bool:
    """Whether the texts that a file carries are those of `save`."""
    return {"arch", "fields", "mean", "std"} <= set(about)


def save(
    path: str | os.PathLike, weights: Weights, golden: Mapping[str, Any] | None = None
) -> None:
    """Writes a network as a `.safetensors` file that `load` needs no hint for.

    Tensors are named by their path ("params/conv1/kernel"), the metadata hold the
    architecture, its fields, mean and standard deviation, and a checksum.

    Args:
      path: of the file.
      weights: the network.
      golden: logits to compare with when it is loaded; see `sidecars.Golden`.

    Raises:
      UsageError: the name does not end in `.safetensors` or cannot be written, or
        the module is none of `MODELS`.
    """
    check_target(path)
    module = weights.module
    names = {kind: name for name, kind in MODELS.data.items()}
    arch = names.get(type(module))
    if arch is None:
        raise specs.UsageError(
            f"{type(module).__name__} has no name among the models: {', '.join(MODELS)}"
        )
    names = [field.name for field in specs.configurable(type(module))]
    fields = {name: getattr(module, name) for name in names if name not in _CHOSEN}
    metadata = {
        "arch": arch,
        "fields": json.dumps(fields),
        "mean": json.dumps(list(map(float, weights.mean))),
        "std": json.dumps(list(map(float, weights.std))),
        **({"golden": json.dumps(golden)} if golden else {}),
    }
    flat = traverse_util.flatten_dict(weights.variables, sep="/")
    flat = {name: np.ascontiguousarray(value) for name, value in flat.items()}
    metadata[tensors.SUM] = str(tensors.checksum(flat, metadata))
    try:
        with storage.replacing(path) as temporary:
            safetensors.numpy.save_file(flat, temporary, metadata)
    except (OSError, safetensors.SafetensorError) as error:
        raise specs.UsageError(f"{path} cannot be written: {error}") from error


def check_target(path: str | os.PathLike) -> None:
    """Refuses a file that `save` would not write.

    Raises:
      UsageError: its name does not end in `.safetensors`, or there is no such folder.
    """
    if Path(path).suffix != ".safetensors":
        raise specs.UsageError(f"{path} must end in .safetensors")
    if not Path(path).parent.is_dir():
        raise specs.UsageError(f"{path} cannot be written: its folder does not exist")


def load(
    path: Path, about: Mapping[str, str], archs: Sequence[str | None], trunk: bool
) -> Weights:
    """The network in a file that carries the texts `about`; see `files.load`.

    Raises:
      UsageError: it is damaged, or holds none of `archs`, of which those that are
        None say nothing.
    """
    for arch in archs:
        if arch not in (None, about["arch"]):
            raise specs.UsageError(f"{path} holds {about['arch']}, not {arch}")
    fields, mean, std = (text_of(path, about, key) for key in ("fields", "mean", "std"))
    spec = {"name": about["arch"], **fields}
    module: Any = specs.build(spec, MODELS, str(path))
    flat = tensors.safetensors_of(path)
    arrays.check_finite(flat, str(path))
    if trunk and not getattr(module, "trunk", False):
        if about["arch"] not in layouts.TRUNKS:
            raise specs.UsageError(
                f"{path}: trunk is for {', '.join(layouts.TRUNKS)}, not {about['arch']}"
            )
        module = module.clone(trunk=True)
        flat = {k: v for k, v in flat.items() if k.split("/")[1].startswith("conv")}
    variables = traverse_util.unflatten_dict(flat, sep="/")
    return Weights(module, variables, tuple(mean), tuple(std))


def text_of(path: Path, about: Mapping[str, str], key: str) -> Any:
    """What one of the texts says.

    Raises:
      UsageError: it is damaged.
    """
    try:
        return json.loads(about[key])
    except (ValueError, TypeError) as error:
        raise specs.UsageError(
            f"{path} is damaged: its metadata cannot be read ({error})"
        ) from None
