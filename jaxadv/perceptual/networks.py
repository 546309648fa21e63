"""Networks that a distance can be measured in, by name, with their weights."""

import functools
import os
from pathlib import Path

from jaxadv import specs, weights
from jaxadv.classifier import Classifier
from jaxadv.plugins import Registry


def run(path: str) -> Classifier:
    """The best checkpoint of the training run in the folder `path`.

    Raises:
      UsageError: there is none.
    """
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
            "give the path of another one"
        ) from None


def _of(arch):
    def load(path: str | None = None) -> Classifier:
        return pretrained(arch, path)

    return load


NETWORKS = Registry(
    "networks", {arch: _of(arch) for arch in weights.NAMES} | {"run": run}
)
