"""Predicted foreground masks beside a prepared set, for sets that have none.

They lie in the folder of the set as `masks/SPLIT.npy`, uint8 [n, h, w, 1], with a note
of what they were made of, and are read as the set's own would be.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.files import checksums, storage
from jaxadv.specs import UsageError


def of_densities(found: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """Masks uint8 [n, h, w, 1] of log-densities [n, h, w].

    A pixel is foreground where its share of all looks, in units of the mean over the
    pixels, is above the threshold. The paper of dual perturbations does not print its
    own.

    Args:
      found: natural logarithms, as DeepGaze gives them; any sum.
      threshold: in units of the mean; None: 1, the mean itself.
    """
    found = np.asarray(found, np.float64)
    share = np.exp(found - np.max(found, axis=(1, 2), keepdims=True))
    share /= np.mean(share, axis=(1, 2), keepdims=True)
    above = share > (1.0 if threshold is None else threshold)
    return above[..., None].astype(np.uint8)


def store(
    folder: Path, split: str, masks: np.ndarray, about: Mapping[str, Any]
) -> None:
    """Writes the masks of a split and what they were made of, whole or not at all."""
    place = _place(folder, split)
    with storage.replacing(place) as temporary, open(temporary, "wb") as file:
        np.save(file, masks)
    note = {**about, "checksum": checksums.checksum_file(place)}
    with storage.replacing(place.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(note, indent=2) + "\n")


def known(folder: Path, split: str) -> dict[str, Any] | None:
    """What the masks of a split were made of; None where there are none."""
    note = _place(folder, split).with_suffix(".json")
    try:
        return json.loads(note.read_text()) if note.is_file() else None
    except ValueError:
        raise _damaged(note) from None


def attached(stored: Any, folder: Path, split: str) -> Any:
    """The open split with its masks, if there are any and it has none of its own.

    Raises:
      UsageError: they are damaged, or of other images.
    """
    about, place = known(folder, split), _place(folder, split)
    if about is None:
        return stored
    try:
        if checksums.checksum_file(place) != about["checksum"]:
            raise ValueError
        masks = np.load(place, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError):
        raise _damaged(place) from None
    shape = (len(stored.labels), *stored.image_shape[:2], 1)
    if masks.shape != shape or stored.varying:
        raise UsageError(
            f"{place} has masks of {masks.shape}, the images are {shape[:3]}; make "
            "them again, or delete the folder"
        )
    return dataclasses.replace(stored, read=_read(stored.read, masks))


def _read(read, masks):
    def rows(ids, draw):
        found = read(ids, draw)
        return found if "mask" in found else {**found, "mask": np.array(masks[ids])}

    return rows


def densities(path: Path, split: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The log-densities [n, h, w] of a split in an .npz file; None if it has none.

    Raises:
      UsageError: it cannot be read, or they are of other images.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            if split not in stored.files:
                return None
            found = stored[split]
    except (OSError, ValueError) as error:
        raise UsageError(f"--densities: {path} cannot be read ({error})") from None
    if found.shape != shape:
        raise UsageError(
            f"--densities: {path} has {found.shape} of {split}, the images are "
            f"{shape}; give a log-density [n, h, w] for each image, in the set's order"
        )
    if np.any(np.isnan(found)):
        raise UsageError(f"--densities: {path} has numbers of {split} that are NaN")
    return found


def _place(folder, split):
    return Path(folder) / "masks" / f"{split}.npy"


def _damaged(path):
    return UsageError(f"{path} is damaged; make the masks again, or delete the folder")
