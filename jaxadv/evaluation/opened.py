"""What eval.py judges: the checkpoint of a training run, or a weight file."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import checkpoints, loading, specs, weights
from jaxadv.specs import UsageError


@dataclasses.dataclass(frozen=True)
class Opened:
    """A network that was read.

    Attributes:
      path: of the run or the file.
      model: the Classifier.
      about: what the report says of it; see `evaluation.evaluate`.
      training: the config of its training; None of a file.
      data: the data set of its training, as `data` of its config; empty of a file.
      image_shape: (h, w, c) of its training; None of a file.
      fingerprint: of the files that it was trained on, or None.
    """

    path: str
    model: Any
    about: dict[str, Any]
    training: dict[str, Any] | None = None
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    image_shape: tuple[int, ...] | None = None
    fingerprint: int | None = None

    def check_images(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuses a data set whose images the network does not take.

        Raises:
          UsageError: their shape is not that of its training, or it fails on them.
        """
        if self.image_shape is None:
            try:
                jax.eval_shape(self.model, jax.ShapeDtypeStruct(shape, jnp.float32))
            except Exception as error:
                size, reason = " x ".join(map(str, shape)), str(error).split("\n")[0]
                raise UsageError(
                    f"config.data.name is {name!r}, whose images are {size}; the "
                    f"network of {self.path} does not take them ({reason[:200]}): give "
                    "another data set, or --config.data.image_size"
                ) from error
        elif tuple(shape) != tuple(self.image_shape):
            sizes = [" x ".join(map(str, one)) for one in (shape, self.image_shape)]
            raise UsageError(
                "config.data.name is {!r}, whose images are {}; the network was "
                "trained on {}: give a data set of these".format(name, *sizes)
            )


def is_file(path: str) -> bool:
    """Whether a path is meant as a weight file."""
    return Path(path).suffix in weights.ENDINGS


def of_run(folder: str, which: str) -> Opened:
    """The "best" or "last" checkpoint of a training run.

    Raises:
      UsageError: it cannot be read.
    """
    model, config, info = checkpoints.load_classifier(folder, which)
    training = specs.plain(config)
    about = {
        "checkpoint": folder,
        "which": which,
        "step": info.get("step"),
        "score": info.get("score"),
        "architecture": training["model"]["name"],
        "defense": training["defense"]["name"],
        "training": training,
    }
    shape = tuple(info["image_shape"])
    known = training, training["data"], shape, info.get("fingerprint")
    return Opened(folder, model, about, *known)


def of_file(path: str, arch: str | None, normalization: str | None) -> Opened:
    """The network in a weight file; see `jaxadv.load`.

    Raises:
      UsageError: it cannot be read, or something of it is not known.
    """
    model, found = loading.load_file(path, arch, normalization)
    statistics = [found.mean, found.std]
    about = {
        "checkpoint": path,
        # What `jaxadv.load` is to be told besides.
        "file": {"arch": arch, "normalization": statistics},
        "architecture": arch or type(found.module).__name__,
    }
    return Opened(path, model, about)
