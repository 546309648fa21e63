"""Arrays of images and labels in one `.npz` file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv import specs
from jaxadv.data import checked, records
from jaxadv.data.own import places
from jaxadv.files import checksums

# By split, the pairs of names: ours, those of generated images that are published with
# robust networks, those of MedMNIST and those of Keras.
_PAIRS = {
    "train": (
        ("images", "labels"),
        ("image", "label"),
        ("train_images", "train_labels"),
        ("x_train", "y_train"),
    ),
    "validation": (("val_images", "val_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
# By split, the names of the foreground masks, if there are any.
_MASKS = {
    "train": ("masks", "train_masks"),
    "validation": ("val_masks",),
    "test": ("test_masks",),
}
_WANTED = (
    "save images and labels by numpy.savez(FILE, images=…, labels=…, test_images=…, "
    "test_labels=…)"
)


class Arrays:
    """The splits of a file; arrays are read when their split is opened.

    Attributes:
      splits: the names of those that it holds.
      missing: what to do about a test split that it does not hold.
    """

    missing = "add test_images and test_labels to the file"

    def __init__(self, place: places.Place):
        """Raises UsageError for a file that is damaged or holds something else."""
        self._path = place.path()
        with _opened(self._path) as stored:
            self._keys = _pairs(self._path, set(stored.files))
            self._has_names = "names" in stored.files
        self.splits = tuple(self._keys)

    def fingerprint(self) -> int:
        """The checksum of the file."""
        return checksums.checksum_file(self._path)

    def open(self, split: str, image_size: int | None, *crop: float) -> records.Stored:
        """The images and labels of a split, with masks if the file has them.

        Images of arrays all have one size.

        Raises:
          specs.UsageError: an array is damaged, has not its axes or no clear unit, or
            a class has no training images.
        """
        path = self._path
        image_key, label_key = self._keys[split]
        with _opened(path) as stored:
            images, labels = stored[image_key], _labels(path, stored, label_key)
            known = labels
            if split != "train":
                known = _labels(path, stored, self._keys["train"][1])
            names = stored["names"] if self._has_names else None
            mask_key = next((k for k in _MASKS[split] if k in stored.files), None)
            masks = None if mask_key is None else stored[mask_key]
        class_names = _class_names(path, names, known)
        if images.ndim == 3:
            images = images[..., None]
        if images.ndim != 4 or len(images) != len(labels):
            raise specs.UsageError(
                f"{path}: {image_key} is {images.shape} for {len(labels)} labels; it "
                "must be [n, h, w, c], or [n, h, w] of gray images"
            )
        images = checked.pixels(images, f"{path}: {image_key}")
        columns = {"image": images, "label": labels}
        if masks is not None:
            masks = masks[..., None] if masks.ndim == 3 else masks
            columns["mask"] = checked.mask(masks, images, f"{path}: {mask_key}")
        return records.in_memory(class_names, columns)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        # NumPy leaves a damaged file open that it has opened itself.
        with open(path, "rb") as file, contextlib.ExitStack() as stack:
            stored = np.load(file, allow_pickle=False)
            if not hasattr(stored, "files"):
                raise specs.UsageError(f"{path}: it holds a single array; {_WANTED}")
            yield stack.enter_context(stored)
    except specs.UsageError:
        raise
    except Exception as error:  # a damaged archive can raise anything at all
        reason = (str(error) or type(error).__name__).partition("\n")[0]
        raise specs.UsageError(
            f"{path}: its arrays cannot be read ({reason}); {_WANTED}"
        ) from None


def _pairs(path, stored) -> dict[str, tuple[str, str]]:
    """Split -> the names of its images and labels."""
    found: dict[str, tuple[str, str]] = {}
    for split, pairs in _PAIRS.items():
        for pair in pairs:
            have = [key for key in pair if key in stored]
            if len(have) == 1:
                lacking = pair[1 - pair.index(have[0])]
                raise specs.UsageError(f"{path}: it has {have[0]}, but no {lacking}")
            if have and split in found:
                raise specs.UsageError(
                    f"{path}: it has both {found[split][0]} and {have[0]}; keep one"
                )
            if have:
                found[split] = pair
    if "train" not in found:
        told = ", ".join(sorted(stored)) or "nothing"
        raise specs.UsageError(f"{path}: it holds {told[:200]}; {_WANTED}")
    return found


def _labels(path, stored, key) -> np.ndarray:
    """Whole numbers [n]; a column of them, as Keras has it, is one too."""
    labels = stored[key]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        raise specs.UsageError(
            f"{path}: {key} is {labels.shape}; it must be [n]: of one-hot labels give "
            f"{key}.argmax(1)"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise specs.UsageError(
            f"{path}: {key} is {labels.dtype} {labels.shape}; it must be whole numbers "
            "[n], from 0 to the number of classes - 1 (their names can be stored as "
            "names)"
        )
    return labels


def _class_names(path, names, labels) -> tuple[str, ...]:
    """The stored names, or else the numbers up to the largest training label."""
    if names is not None:
        if names.ndim != 1 or names.dtype.kind not in "US":
            raise specs.UsageError(
                f"{path}: names is {names.dtype} {names.shape}; it must be texts, one "
                "for each class"
            )
        given = names.tolist()
        return tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else n
                     for n in given)  # fmt: skip
    used = np.unique(labels)
    gap = next((i for i, label in enumerate(used) if label != i), None)
    if gap is not None:
        raise specs.UsageError(
            f"{path}: the training labels are {used[0]} to {used[-1]}, but none is "
            f"{gap}; renumber them from 0 without gaps, or store names of all classes "
            "as names"
        )
    return tuple(map(str, range(len(used))))
