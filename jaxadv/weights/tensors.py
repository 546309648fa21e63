"""The tensors of weight files, by the names that the network itself gives them."""

import os
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors

from jaxadv import specs
from jaxadv.files import checksums
from jaxadv.weights import torch_files, wrappers
from jaxadv.weights.normalizations import Statistics

ENDINGS = (".safetensors", ".pth", ".pt")
SUM = "jaxadv_checksum"  # its name in the metadata of our own files
_INSIDE = ("state_dict", "model", "net")
_DEPTH = 4  # of dictionaries around the weights


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a `.safetensors`, `.pth` or `.pt` file, in PyTorch's axis order.

    They are looked for under `state_dict`, `model` and `net`, or at the top, and come
    without what wrappers add to them (`wrappers.unwrapped`).

    Returns:
      Name -> array, read-only; bfloat16 comes as float32.

    Raises:
      UsageError: the file is absent, damaged, or holds no tensors.
    """
    return state(Path(path))[0]


def state(path: Path) -> tuple[dict[str, np.ndarray], Statistics | None]:
    """The tensors of a file, and the mean and deviation where it carries them.

    Raises:
      UsageError: as `read`, or what it carries is no normalization or is two.
    """
    require(path)
    if path.suffix == ".safetensors":
        named = safetensors_of(path)
    else:
        payload, fetch = torch_files.read(path)
        named = {name: fetch(t) for name, t in _described(path, payload).items()}
    try:
        return wrappers.unwrapped(named)
    except specs.UsageError as error:
        raise specs.UsageError(f"{path}: {error}") from None


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


def metadata(path: Path) -> Mapping[str, str]:
    """The texts that a safetensors file carries; none for other files."""
    require(path)
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


def safetensors_of(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, its checksum compared where it has one."""
    with _open(path) as file:
        try:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            about = file.metadata() or {}
        except (AttributeError, TypeError, safetensors.SafetensorError) as error:
            raise specs.UsageError(
                f"{path} holds a dtype that NumPy has not: {error}; save it as float32"
            ) from error
    # Other writers, and our own of before, give no checksum.
    if about.get(SUM, "") not in ("", str(checksum(tensors, about))):
        raise specs.UsageError(
            f"{path} is damaged: its checksum is wrong; convert the weights again"
        )
    # NumPy has no bfloat16 of its own.
    return {
        name: value.astype(np.float32) if value.dtype == jnp.bfloat16 else value
        for name, value in tensors.items()
    }


def checksum(tensors: Mapping[str, np.ndarray], about: Mapping[str, str]) -> int:
    """Of the tensors and the texts that a file carries beside it."""
    texts = {key: value for key, value in about.items() if key != SUM}
    return checksums.checksum_json([checksums.checksum(tensors), texts])


def require(path: Path) -> None:
    if not path.is_file():
        raise specs.UsageError(f"{path} is no file")
