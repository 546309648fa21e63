"""Weight files: reading foreign ones, writing and reading our own, finding them."""

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import linen as nn
from flax import traverse_util

from jaxadv import arrays, specs
from jaxadv.files import checksums, storage
from jaxadv.models import MODELS
from jaxadv.weights import layouts, torch_files

ENDINGS = (".safetensors", ".pth", ".pt")
_INSIDE = ("state_dict", "model", "net")
_SUM = "jaxadv_checksum"  # its name in the metadata of our own files
_DEPTH = 4  # of dictionaries around the weights
_KNOWN_FILES = {
    "alexnet": "torchvision's alexnet-owt-7be5be79.pth",
    "vgg16": "torchvision's vgg16-397923af.pth",
    "cifar_alexnet": "perceptual-advex's alexnet_cifar.pt",
    "resnet18_imagenet": "torchvision's resnet18-f37072fd.pth",
    "resnet34_imagenet": "torchvision's resnet34-b627a593.pth",
    "resnet50_imagenet": "torchvision's resnet50-0676ba61.pth",
    "wrn_34_10": "TRADES' model_cifar_wrn.pt",
}
_LPIPS_FILES = {"alexnet": "alex", "vgg16": "vgg", "squeeze": "squeeze"}


class MissingWeights(specs.UsageError):
    """There is no file of an architecture in the folder of weights."""


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


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a `.safetensors`, `.pth` or `.pt` file, in PyTorch's axis order.

    They are looked for under `state_dict`, `model` and `net`, or at the top. The
    prefixes `module.` and `model.` are taken off, and what wrappers add is left
    out: the normalizer and attacker of the robustness package and the feature
    layers that perceptual-advex lists twice.

    Returns:
      Name -> array, read-only; bfloat16 comes as float32.

    Raises:
      UsageError: the file is absent, damaged, or holds no tensors.
    """
    return _state(Path(path))[0]


def load(
    path: str | os.PathLike, arch: str | None = None, trunk: bool = False
) -> Weights:
    """The network in a weight file, foreign or our own.

    Mean and standard deviation are those that the file carries (our own files and
    those of the robustness package do), else `normalization(arch)`.

    Args:
      path: the file.
      arch: a name of `layouts.NAMES`; our own files know it.
      trunk: leave out the dense layers of AlexNet or VGG.

    Raises:
      UsageError: the file is absent, damaged, does not hold `arch`, or holds numbers
        that are not finite.
    """
    weights = _load(Path(path), arch, trunk)
    statistics = {"mean": weights.mean, "std": weights.std}
    arrays.check_finite(statistics, f"{path}: the normalization")
    return weights


def _load(path, arch, trunk):
    about = _metadata(path)
    if {"arch", "fields", "mean", "std"} <= set(about):
        return _load_own(path, about, arch, trunk)
    if arch is None:
        raise specs.UsageError(
            f"{path} does not say what network it holds; give arch (--arch), one of "
            f"{', '.join(layouts.NAMES)}"
        )
    tensors, carried = _state(path)
    arrays.check_finite(tensors, str(path))
    try:
        module, variables = layouts.convert(tensors, arch, trunk)
    except specs.UsageError as error:
        raise specs.UsageError(f"{path}: {error}") from None
    return Weights(module, variables, *(carried or layouts.normalization(arch)))


def save(path: str | os.PathLike, weights: Weights) -> None:
    """Writes a network as a `.safetensors` file that `load` needs no hint for.

    Tensors are named by their path ("params/conv1/kernel"), the metadata hold the
    architecture, its fields, mean and standard deviation, and a checksum.

    Raises:
      UsageError: the name does not end in `.safetensors` or cannot be written, or
        the module is none of `MODELS`.
    """
    if Path(path).suffix != ".safetensors":
        raise specs.UsageError(f"{path} must end in .safetensors")
    module = weights.module
    names = {kind: name for name, kind in MODELS.data.items()}
    arch = names.get(type(module))
    if arch is None:
        raise specs.UsageError(
            f"{type(module).__name__} has no name among the models: {', '.join(MODELS)}"
        )
    names = [field.name for field in specs.configurable(type(module))]
    # A dtype is a choice of whoever computes, not a property of the weights.
    fields = {name: getattr(module, name) for name in names if name != "compute_dtype"}
    metadata = {
        "arch": arch,
        "fields": json.dumps(fields),
        "mean": json.dumps(list(map(float, weights.mean))),
        "std": json.dumps(list(map(float, weights.std))),
    }
    flat = traverse_util.flatten_dict(weights.variables, sep="/")
    flat = {name: np.ascontiguousarray(value) for name, value in flat.items()}
    metadata[_SUM] = str(_checksum(flat, metadata))
    if not Path(path).parent.is_dir():
        raise specs.UsageError(f"{path} cannot be written: its folder does not exist")
    try:
        with storage.replacing(path) as temporary:
            safetensors.numpy.save_file(flat, temporary, metadata)
    except (OSError, safetensors.SafetensorError) as error:
        raise specs.UsageError(f"{path} cannot be written: {error}") from error


def find(arch: str, path: str | os.PathLike | None = None) -> Path:
    """The weight file of an architecture.

    Args:
      arch: a name of `layouts.NAMES`.
      path: the file; None looks for `arch` with one of `ENDINGS` in
        $JAXADV_WEIGHTS_DIR, by default ~/jaxadv_weights.

    Raises:
      MissingWeights: there is none in the folder; says which file to put where.
      UsageError: unknown name, or there is no file at the path.
    """
    specs.lookup(arch, layouts.NAMES, "arch")
    if path is not None:
        if Path(path).is_file():
            return Path(path)
        raise specs.UsageError(
            f"{path}, the weights of {arch}, is no file; set 'path' to one, or to "
            f"None to look for {arch}{ENDINGS[0]} in {_folder()}"
        )
    places = [_folder() / f"{arch}{ending}" for ending in ENDINGS]
    for place in places:
        if place.is_file():
            return place
    known = _KNOWN_FILES.get(arch, f"a state dict of {arch} saved by PyTorch")
    raise MissingWeights(
        f"no weights of {arch}: put {known} at {places[1]}, or set 'path' to a file, "
        "or $JAXADV_WEIGHTS_DIR to the folder that holds it"
    )


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
    tensors = read(path)
    arrays.check_finite(tensors, str(path))
    wanted = [f"lin{i}.model.1.weight" for i in range(len(tensors))]
    for name in wanted:
        shape = tensors[name].shape if name in tensors else ()
        if len(shape) != 4 or shape[0] != 1 or shape[2:] != (1, 1):
            raise specs.UsageError(
                f"{path} does not hold LPIPS weights: {name} [1, c, 1, 1] is missing "
                f"among {', '.join(tensors)}"
            )
    return tuple(np.array(tensors[name], np.float32).reshape(-1) for name in wanted)


def _folder() -> Path:
    return Path(os.environ.get("JAXADV_WEIGHTS_DIR") or "~/jaxadv_weights").expanduser()


def _require(path):
    if not path.is_file():
        raise specs.UsageError(f"{path} is no file")


def _metadata(path) -> Mapping[str, str]:
    """The texts that a safetensors file carries; none for other files."""
    _require(path)
    if path.suffix != ".safetensors":
        return {}
    with _open(path) as file:
        return file.metadata() or {}


def _open(path):
    try:
        return safetensors.safe_open(path, framework="np")
    except (OSError, safetensors.SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise specs.UsageError(
            f"{path} is damaged or no safetensors file: {reason}"
        ) from error


def _safetensors(path) -> dict[str, np.ndarray]:
    with _open(path) as file:
        try:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            about = file.metadata() or {}
        except (AttributeError, TypeError, safetensors.SafetensorError) as error:
            raise specs.UsageError(
                f"{path} holds a dtype that NumPy has not: {error}; save it as float32"
            ) from error
    # Other writers, and our own of before, give no checksum.
    if about.get(_SUM, "") not in ("", str(_checksum(tensors, about))):
        raise specs.UsageError(
            f"{path} is damaged: its checksum is wrong; convert the weights again"
        )
    # NumPy has no bfloat16 of its own.
    return {
        name: value.astype(np.float32) if value.dtype == jnp.bfloat16 else value
        for name, value in tensors.items()
    }


def _checksum(tensors, about):
    texts = {key: value for key, value in about.items() if key != _SUM}
    return checksums.checksum_json([checksums.checksum(tensors), texts])


def _state(path):
    """The tensors of a file, and the mean and deviation where it carries them."""
    _require(path)
    if path.suffix == ".safetensors":
        named = _safetensors(path)
    else:
        payload, fetch = torch_files.read(path)
        named = {name: fetch(t) for name, t in _described(path, payload).items()}
    return _unwrapped(named)


def _described(path, payload) -> dict[str, torch_files.Tensor]:
    """The dictionary of tensors in what a PyTorch file holds."""
    keys = []
    # A checkpoint may hold single tensors, such as a best accuracy, beside the
    # weights; and a pickled dictionary may hold itself.
    for _ in range(_DEPTH):
        if not isinstance(payload, Mapping):
            break
        keys = [str(key) for key in payload]
        inner = [payload[key] for key in _INSIDE if key in payload]
        inner = [value for value in inner if isinstance(value, Mapping)]
        if not inner:
            found = {
                str(name): value
                for name, value in payload.items()
                if isinstance(value, torch_files.Tensor)
            }
            if found:
                return found
            break
        payload = inner[0]
    if keys:
        raise specs.UsageError(
            f"{path} holds no tensors under {', '.join(_INSIDE)} or at its top, but "
            f"{', '.join(keys[:8])}; save the state dict alone: "
            "torch.save(model.state_dict(), path)"
        )
    raise specs.UsageError(
        f"{path} holds no state dict (a whole pickled model?); save that: "
        "torch.save(model.state_dict(), path)"
    )


def _unwrapped(named):
    """Tensors without what wrappers add, and the wrapper's mean and deviation."""
    named = _stripped(named, "module.")
    wrapped = {k for k in named if k.startswith(("normalizer.", "attacker."))}
    statistics = tuple(
        tuple(map(float, named[name].ravel()))
        for name in ("normalizer.new_mean", "normalizer.new_std")
        if name in named
    )
    named = {k: v for k, v in named.items() if k not in wrapped}
    if any(name.startswith("model.") for name in named):
        # The layers are the model's own, listed a second time.
        twice = [k for k in named if k.startswith("layer")]
        named = {k: v for k, v in named.items() if k not in twice}
    named = _stripped(named, "model.")
    return named, statistics if len(statistics) == 2 else None


def _stripped(named, prefix):
    while named and all(name.startswith(prefix) for name in named):
        named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named


def _load_own(path, about, arch, trunk):
    if arch not in (None, about["arch"]):
        raise specs.UsageError(f"{path} holds {about['arch']}, not {arch}")
    try:
        fields = json.loads(about["fields"])
        mean, std = (tuple(json.loads(about[key])) for key in ("mean", "std"))
    except (ValueError, TypeError) as error:
        raise specs.UsageError(
            f"{path} is damaged: its metadata cannot be read ({error})"
        ) from None
    module: Any = specs.build({"name": about["arch"], **fields}, MODELS, str(path))
    flat = _safetensors(path)
    arrays.check_finite(flat, str(path))
    if trunk and not getattr(module, "trunk", False):
        if about["arch"] not in layouts.TRUNKS:
            raise specs.UsageError(
                f"{path}: trunk is for {', '.join(layouts.TRUNKS)}, not {about['arch']}"
            )
        module = module.clone(trunk=True)
        flat = {k: v for k, v in flat.items() if k.split("/")[1].startswith("conv")}
    return Weights(module, traverse_util.unflatten_dict(flat, sep="/"), mean, std)
