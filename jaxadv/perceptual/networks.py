"""Networks that a distance can be measured in, by name, with their weights.

A spec may name another one to stand in, `otherwise`, where the weights of its own are
not on the machine: {"name": "alexnet", "otherwise": "stlpips_alexnet"}.
"""

import functools
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from jaxadv import specs, weights
from jaxadv.classifier import Classifier
from jaxadv.models import MODELS
from jaxadv.plugins import Registry
from jaxadv.weights.packages import NETWORKS as PACKAGED

_SMALL = (64, 64)  # images that every trunk takes; its weights hang on no size
# Whoever gives a path means that network and no other.
_PATH = specs.mark(replaces="otherwise", own=True)
_OTHER = specs.mark(own=True)


def settle(spec: Any) -> tuple[Any, tuple[str, ...]]:
    """A spec in which every network that is not there has given way to its `otherwise`.

    Whoever keeps specs, as reports do, then keeps the network that was measured in.

    Args:
      spec: of a distance, a threat or an attack, whose parts are searched too.

    Returns:
      The spec, and a sentence for each network that has given way, which is also a
      UsageWarning.

    Raises:
      UsageError: an `otherwise` is no name of a network.
    """
    if isinstance(spec, (list, tuple)):
        inner = [settle(one) for one in spec]
        lines = tuple(line for _, some in inner for line in some)
        return [one for one, _ in inner], lines
    if not isinstance(spec, Mapping):
        return spec, ()
    told = _given_way(spec.get("name"), spec.get("path"), spec.get("otherwise"))
    if told:
        return {"name": spec["otherwise"]}, (told,)
    values, lines = settle(list(spec.values()))
    return dict(zip(spec, values, strict=True)), lines


def _given_way(name, path, otherwise):
    """What is to be told where `otherwise` stands in for a network; "" where not."""
    if otherwise is None:
        return ""
    specs.lookup(otherwise, NETWORKS, "network.otherwise")
    absent = _absent(name, path)
    if not absent or _absent(otherwise):
        return ""
    told = f"{absent}: LPIPS is measured in {otherwise} in its place"
    warnings.warn(told, specs.UsageWarning, stacklevel=2)
    return told


def _absent(name, path=None):
    """That a network is not there; "" where it is, or where something else is wrong."""
    if name == "run":
        there = path is None or Path(path).exists()
        return "" if there else f"there is no run {path}"
    try:
        weights.find(name, path)
    except weights.MissingWeights:
        return f"there are no weights of {name}"
    except specs.UsageError:  # told by whoever builds it
        return ""
    return ""


def run(
    path: Annotated[str, _PATH], otherwise: Annotated[str | None, _OTHER] = None
) -> Classifier:
    """The best checkpoint of the training run in the folder `path`.

    Args:
      path: of the run.
      otherwise: the network that stands in where there is no such folder.

    Raises:
      UsageError: there is none.
    """
    if _given_way("run", path, otherwise):
        return NETWORKS[otherwise]()
    return _run(str(path), _version(Path(path)))


def pretrained(arch: str, path: str | None = None) -> Classifier:
    """A network of architecture `arch` with the weights in the file `path`.

    Without a path the file is looked for in the folder of weights; see
    `weights.find`.

    Raises:
      UsageError: the file is absent or does not fit; says which file to put where.
    """
    found = weights.find(arch, path)
    return _pretrained(arch, str(found), _version(found))


@functools.lru_cache(maxsize=4)
def untrained(arch: str = "stlpips_alexnet", seed: int = 0) -> Classifier:
    """The convolutions of a network with random weights.

    Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against
    unseen threat models", 2021, figure 4c, measure distances in such networks too.

    Args:
      arch: a name of `weights.TRUNKS`.
      seed: of the weights.

    Raises:
      UsageError: the architecture is unknown, or has convolutions and dense layers in
        one.
    """
    if arch not in weights.TRUNKS:
        raise specs.UsageError(
            f"network.arch: {arch!r} is no network of which the convolutions can stand "
            f"alone; those are {', '.join(weights.TRUNKS)}"
        )
    module = MODELS[arch](trunk=True)
    images = jnp.zeros((1, *_SMALL, 3))
    variables = jax.jit(module.init)(jax.random.key(seed), images)
    return Classifier.from_linen(module, variables, *weights.published(arch))


@functools.lru_cache(maxsize=4)
def _run(path, version):
    del version  # another one is another entry
    from jaxadv import checkpoints  # imports Orbax, which arrays and attacks do without

    return checkpoints.load_classifier(path, "best")[0]


@functools.lru_cache(maxsize=4)
def _pretrained(arch, path, version):
    del version
    trunk = arch in weights.TRUNKS
    found = weights.load(path, arch, trunk, assumed=True)
    return Classifier.from_linen(*found)


def _version(path):
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        raise specs.UsageError(
            f"network.path: there is no {str(path)!r}; train or download it first, or "
            "give the path of another one, or the network 'name': 'stlpips_alexnet' "
            f"({PACKAGED['stlpips_alexnet'].install})"
        ) from None


def _of(arch):
    def load(
        path: Annotated[str | None, _PATH] = None,
        otherwise: Annotated[str | None, _OTHER] = None,
    ) -> Classifier:
        if _given_way(arch, path, otherwise):
            return NETWORKS[otherwise]()
        return pretrained(arch, path)

    return load


NETWORKS = Registry(
    "networks",
    {arch: _of(arch) for arch in weights.NAMES} | {"run": run, "untrained": untrained},
)
