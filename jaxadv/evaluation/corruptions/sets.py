"""Stored sets of corrupted images, in the two layouts in which they are published.

CIFAR-10-C:  `labels.npy`, [5 n] or [n], and for each corruption `NAME.npy`, uint8
             [5 n, h, w, c], severity after severity; the n images are those of the
             test split in its order, unless `labels.npy` says otherwise.
ImageNet-C:  `NAME/SEVERITY/WNID/*.JPEG`, of the size that the network takes; only the
             classes that the data set has are read, so that a tree of a thousand
             classes serves ImageNet-100.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common
corruptions and perturbations", 2019.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv import arrays
from jaxadv.data import images
from jaxadv.evaluation.judging import inputs
from jaxadv.specs import UsageError

SEVERITIES = 5
KINDS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
NAMES = tuple(name for names in KINDS.values() for name in names)


def open_folder(folder: str | Path, class_names: Sequence[str]) -> "Arrays | Trees":
    """The sets of a folder, in whichever layout it has.

    Args:
      folder: see the module.
      class_names: of the data set, in the order of its labels.

    Raises:
      UsageError: the folder has neither layout, or its sets do not fit each other.
    """
    folder = Path(folder)
    if (folder / "labels.npy").is_file():
        return Arrays(folder)
    if any((folder / name / "1").is_dir() for name in NAMES):
        return Trees(folder, class_names)
    raise UsageError(
        f"{folder}: there is neither labels.npy nor a folder of a corruption such as "
        "fog/1; give the folder of CIFAR-10-C or ImageNet-C, as published, or one in "
        "its layout"
    )


class Arrays:
    """Sets in the layout of CIFAR-10-C; `names` are those that are there."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.names = [name for name in NAMES if (folder / f"{name}.npy").is_file()]
        if not self.names:
            raise UsageError(f"{folder}: none of {', '.join(NAMES)} as NAME.npy")
        for name in self.names:
            _check_pixels(folder / f"{name}.npy")
        stored = np.array(_array(folder / "labels.npy"))
        arrays.check_labels(stored, (stored.size,), f"{folder}/labels.npy")
        # Published once for each severity: there are as many as images.
        images = _array(folder / f"{self.names[0]}.npy")
        own = stored[: len(stored) // SEVERITIES]
        repeated = len(stored) == len(images)
        if repeated and not np.array_equal(stored, np.tile(own, SEVERITIES)):
            raise UsageError(
                f"{folder}/labels.npy: the {len(stored)} labels, as many as the images "
                f"of {self.names[0]}.npy, are not the same at each of {SEVERITIES} "
                f"severities; give sets of all {SEVERITIES}, one after another, and "
                "not of one alone"
            )
        self.labels = own if repeated else stored

    def clean(self, source: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The same images without corruption; as `inputs.read`.

        Raises:
          UsageError: the clean split has fewer images or other labels.
        """
        count = len(self.labels)
        if len(source) < count:
            raise UsageError(
                f"{self.folder}: {count} images and {len(source)} in the clean split; "
                "give the --config.data of the same data set"
            )
        found = inputs.read(source, rows)
        if not np.array_equal(found["label"], self.labels[rows]):
            raise UsageError(
                f"{self.folder}/labels.npy are not those of the clean split; give the "
                "--config.data of the same data set"
            )
        return found

    def read(self, name: str, severity: int, rows: np.ndarray) -> np.ndarray:
        """uint8 [len(rows), h, w, c]; severities count from 1."""
        count = len(self.labels)
        stored = _array(self.folder / f"{name}.npy")
        if len(stored) != SEVERITIES * count:
            raise UsageError(
                f"{self.folder}/{name}.npy has {len(stored)} images; it must have "
                f"{SEVERITIES} for each of {count} labels, severity after severity"
            )
        return stored[(severity - 1) * count + rows]


class Trees:
    """Sets in the layout of ImageNet-C; `names` are those that are there."""

    def __init__(self, folder: Path, class_names: Sequence[str]):
        self.folder = folder
        self.names = [name for name in NAMES if (folder / name / "1").is_dir()]
        for name in self.names:
            for severity in range(2, SEVERITIES + 1):
                if not (folder / name / str(severity)).is_dir():
                    raise UsageError(
                        f"{folder / name} has no folder {severity}; it must have one "
                        f"for each of {SEVERITIES} severities"
                    )
        files = [
            sorted((folder / self.names[0] / "1" / wnid).glob("*.JPEG"))
            for wnid in class_names
        ]
        for wnid, found in zip(class_names, files, strict=True):
            if not found:
                raise UsageError(
                    f"{folder / self.names[0]}/1/{wnid}: there are no JPEG images; "
                    "give the ImageNet-C that has the classes of the data set"
                )
        self._files = [f"{file.parent.name}/{file.name}" for of in files for file in of]
        self.labels = np.repeat(np.arange(len(files)), [len(of) for of in files])

    def clean(self, source: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
        """As many images of the clean split, evenly over it; as `inputs.read`."""
        return inputs.read(source, rows * len(source) // len(self.labels))

    def read(self, name: str, severity: int, rows: np.ndarray) -> np.ndarray:
        """uint8 [len(rows), h, w, 3]; severities count from 1."""
        folder = self.folder / name / str(severity)
        images = [_pixels(folder / self._files[row]) for row in rows]
        for image, row in zip(images, rows, strict=True):
            if image.shape != images[0].shape:
                raise UsageError(
                    f"{folder / self._files[row]}: shape {image.shape} among images of "
                    f"{images[0].shape}; give sets of one size"
                )
        return np.stack(images)


def _check_pixels(file):
    """Raises UsageError unless the array in `file` is uint8 [n, h, w, c]."""
    stored = _array(file)
    if stored.dtype != np.uint8:
        raise UsageError(
            f"{file}: the dtype is {stored.dtype}; it must be uint8, 0 to 255, as "
            "published: of images in [0, 1] store (255 * x).round().astype(np.uint8)"
        )
    if stored.ndim != 4:
        raise UsageError(
            f"{file}: the shape is {stored.shape}; it must be [{SEVERITIES} n, h, w, c]"
        )


def _pixels(file):
    try:
        return np.asarray(images.decode(images.read(file), file, "RGB"))
    except UsageError as error:
        raise UsageError(f"{error}; or fetch the set again") from None


def _array(file):
    """What a .npy file holds, mapped into memory."""
    try:
        found = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{file}: {reason}; fetch the set again") from None
    if not isinstance(found, np.ndarray) or found.ndim == 0:
        raise UsageError(f"{file} holds no array; fetch the set again")
    return found
