"""A network from a file or a training run: `jaxadv.load`."""

import os
from pathlib import Path
from typing import Any

import jax

from jaxadv import checkpoints, specs, weights
from jaxadv.classifier import Classifier


def load(
    path: str | os.PathLike,
    arch: str | None = None,
    normalization: Any = None,
    which: str = "best",
) -> Classifier:
    """The network in a weight file or in the folder of a training run.

    Where golden logits stand in the file or its sidecar, they are compared.

    Args:
      path: a `.safetensors`, `.pth` or `.pt` file, read without PyTorch and without
        running what it holds; or the `--workdir` of a run.
      arch: of a file, a name of `jaxadv.weights.NAMES`; our own files and sidecars
        know it.
      normalization: of a file, a name of `jaxadv.weights.NORMALIZATIONS` or (mean,
        std) in [0, 1] units, where neither it nor its sidecar says it. It is never
        guessed.
      which: of a run, "best" by validation score, or "last".

    Raises:
      UsageError: there is nothing, it is damaged or does not hold `arch`, the
        normalization is not known, or the logits are not the golden ones.

    Example:
      >>> from tempfile import TemporaryDirectory
      >>> from jaxadv import weights
      >>> module = ja.models.MODELS["mlp"](num_classes=3)
      >>> images = jnp.zeros((1, 4, 4, 1))
      >>> variables = jax.jit(module.init)(jax.random.key(0), images)
      >>> with TemporaryDirectory() as folder:
      ...     path = folder + "/net.safetensors"
      ...     weights.save(path, weights.Weights(module, variables, (0.5,), (0.5,)))
      ...     model = ja.load(path)
      >>> model(images[0]).shape
      (3,)
    """
    if Path(path).is_dir():
        if (arch, normalization) != (None, None):
            raise specs.UsageError(
                f"{path} is the folder of a run, which knows its network: leave arch "
                "and normalization out"
            )
        return checkpoints.load_classifier(path, which)[0]
    return load_file(path, arch, normalization)[0]


def load_file(
    path: str | os.PathLike, arch: str | None = None, normalization: Any = None
) -> tuple[Classifier, weights.Weights]:
    """The classifier in a weight file, and what it is made of; see `load`.

    Raises:
      UsageError: as `load`.
    """
    found = weights.load(path, arch, normalization=normalization)
    model = Classifier.from_linen(*found)
    golden = weights.golden(path)
    if golden is not None:
        run = jax.jit(lambda model, images: jax.vmap(model)(images))
        golden.check(run(model, golden.images()), str(path))
    return model, found
