"""Networks in weight files, foreign or our own, and where such files are found."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn

from jaxadv import arrays, specs
from jaxadv.weights import layouts, own, packages, sidecars, tensors
from jaxadv.weights.normalizations import NORMALIZATIONS, Statistics, statistics

_KNOWN_FILES = {
    "alexnet": "torchvision's alexnet-owt-7be5be79.pth",
    "vgg16": "torchvision's vgg16-397923af.pth",
    "cifar_alexnet": "perceptual-advex's alexnet_cifar.pt",
    "resnet18_imagenet": "torchvision's resnet18-f37072fd.pth",
    "resnet34_imagenet": "torchvision's resnet34-b627a593.pth",
    "resnet50_imagenet": "torchvision's resnet50-0676ba61.pth",
    "wrn_34_10": "TRADES' model_cifar_wrn.pt",
    "stlpips_alexnet": "stlpips_pytorch's alex_shift_tolerant.pth",
    "stlpips_vgg16": "stlpips_pytorch's vgg_shift_tolerant.pth",
}
# Networks of distances whose files are not on every machine -> one of a package.
_OTHERS = {
    "alexnet": "stlpips_alexnet",
    "cifar_alexnet": "stlpips_alexnet",
    "vgg16": "stlpips_vgg16",
}


class MissingWeights(specs.UsageError):
    """There is no file of an architecture in the folder of weights."""


class Content(NamedTuple):
    """What a weight file and its sidecar hold.

    Attributes:
      module: the linen module.
      variables: its float32 variables, NumPy arrays.
      statistics: mean and standard deviation, in [0, 1] units; None where nothing says
        them.
    """

    module: nn.Module
    variables: dict[str, Any]
    statistics: Statistics | None


def load(
    path: str | os.PathLike,
    arch: str | None = None,
    trunk: bool = False,
    normalization: Any = None,
    assumed: bool = False,
) -> own.Weights:
    """The network in a weight file, foreign or our own.

    Args:
      path: the file; what it lacks may stand in a sidecar, see `sidecars`.
      arch: a name of `layouts.NAMES`; our own files know it.
      trunk: leave out the dense layers of AlexNet or VGG.
      normalization: a name of `NORMALIZATIONS` or (mean, std), where neither the file
        says it (our own do, those of the robustness package and some others) nor its
        sidecar.
      assumed: for networks that others are measured by: take `published(arch)` where
        nothing says it.

    Raises:
      UsageError: the file is absent, damaged, does not hold `arch`, or holds numbers
        that are not finite; the normalization is not known, or is said twice and
        differs.
    """
    found = read_content(path, arch, trunk, normalization)
    known = found.statistics or (layouts.published(arch) if assumed and arch else None)
    if known is None:
        raise specs.UsageError(
            f"{path} does not say how its images are normalized; give normalization "
            f"(--normalization), one of {', '.join(NORMALIZATIONS)} or (mean, std)"
        )
    return own.Weights(found.module, found.variables, *known)


def read_content(
    path: str | os.PathLike,
    arch: str | None = None,
    trunk: bool = False,
    normalization: Any = None,
) -> Content:
    """As `load`, where the normalization may stay unknown.

    Raises:
      UsageError: as `load`.
    """
    path = Path(path)
    about, beside = tensors.metadata(path), sidecars.read(path)
    said = {"its sidecar": beside.statistics}
    if normalization is not None:
        said["normalization"] = statistics(normalization)
    if own.is_own(about):
        weights = own.load(path, about, (arch, beside.arch), trunk)
        module, variables = weights[:2]
        said["the file"] = weights[2:]
    else:
        arch = _agreed(path, arch, beside.arch)
        found, said["the file"] = tensors.state(path)
        arrays.check_finite(found, str(path))
        try:
            module, variables = layouts.convert(found, arch, trunk)
        except specs.UsageError as error:
            raise specs.UsageError(f"{path}: {error}") from None
    one = _one(path, {k: v for k, v in said.items() if v is not None})
    return Content(module, variables, one)


def golden(path: str | os.PathLike) -> sidecars.Golden | None:
    """The logits that a weight file or its sidecar says its network gives; else None.

    Raises:
      UsageError: they are damaged.
    """
    path = Path(path)
    beside, about = sidecars.read(path).golden, tensors.metadata(path)
    if beside is not None or not own.is_own(about) or "golden" not in about:
        return beside
    return sidecars.Golden.of(own.text_of(path, about, "golden"), str(path))


def _agreed(path, *archs):
    """The one architecture that is told."""
    given = sorted({arch for arch in archs if arch is not None})
    if not given:
        raise specs.UsageError(
            f"{path} does not say what network it holds; give arch (--arch), one of "
            f"{', '.join(layouts.NAMES)}"
        )
    if len(given) > 1:
        raise specs.UsageError(
            f"{path}: its sidecar and arch (--arch) differ: {' and '.join(given)}"
        )
    return given[0]


def _one(path, said):
    """The statistics that all who say some agree in; None where nobody does."""
    for pair in said.values():
        named = {"mean": pair[0], "std": pair[1]}
        arrays.check_finite(named, f"{path}: the normalization")
    for name, pair in said.items():
        for other, theirs in said.items():
            if not all(map(_close, pair, theirs)):
                raise specs.UsageError(
                    f"{path}: two normalizations are told: {_text(pair)} ({name}) and "
                    f"{_text(theirs)} ({other}); leave one out"
                )
    return next(iter(said.values()), None)


def _close(first, second):
    return np.allclose(*np.broadcast_arrays(first, second), rtol=0, atol=1e-5)


def _text(pair):
    mean, std = ([round(float(value), 5) for value in part] for part in pair)
    return f"mean {mean}, std {std}"


def find(arch: str, path: str | os.PathLike | None = None) -> Path:
    """The weight file of an architecture.

    Args:
      arch: a name of `layouts.NAMES`.
      path: the file; None looks for `arch` with one of `ENDINGS` in
        $JAXADV_WEIGHTS_DIR, by default ~/jaxadv_weights, and then in the folder of
        the package that brings it, if there is one.

    Raises:
      MissingWeights: there is none; says which file to put where, or what to install.
      UsageError: unknown name, or there is no file at the path.
    """
    specs.lookup(arch, layouts.LAYOUTS, "arch")
    if path is not None:
        if Path(path).is_file():
            return Path(path)
        raise specs.UsageError(
            f"{path}, the weights of {arch}, is no file; set 'path' to one, or to "
            f"None to look for {arch}{tensors.ENDINGS[0]} in {_folder()}"
        )
    places = [_folder() / f"{arch}{ending}" for ending in tensors.ENDINGS]
    for place in places:
        if place.is_file():
            return place
    packaged = packages.NETWORKS.get(arch)
    if packaged is not None and packaged.path is not None:
        return packaged.path
    raise MissingWeights(f"no weights of {arch}: {_remedy(arch, places[1])}")


def _remedy(arch, place):
    known = _KNOWN_FILES.get(arch, f"a state dict of {arch} saved by PyTorch")
    words = f"put {known} at {place}, or set 'path' to a file, or $JAXADV_WEIGHTS_DIR "
    words += "to the folder that holds it"
    if arch in packages.NETWORKS:
        return f"{packages.NETWORKS[arch].install}; or {words}"
    if arch not in _OTHERS:
        return words
    other = _OTHERS[arch]
    return (
        f"{words}; or measure in another network, 'name': '{other}' "
        f"({packages.NETWORKS[other].install})"
    )


def _folder() -> Path:
    return Path(os.environ.get("JAXADV_WEIGHTS_DIR") or "~/jaxadv_weights").expanduser()
