"""A tree of images with one subfolder a class, as torchvision's ImageFolder reads."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxadv import specs
from jaxadv.data import crops, images, records
from jaxadv.data.own import places
from jaxadv.files import checksums, storage

_READ = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp")
_REFUSED = (".tif", ".tiff", ".gif", ".avif", ".heic", ".jp2", ".jfif", ".svg", ".npy")
# The first of these folders that is there is the split.
_SPLITS = {
    "train": ("train",),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}
_GRAY = ("1", "L", "LA")
_CHUNK = 256  # files in hand
_KEPT = 2 << 30  # bytes of decoded images that are kept in memory


class Folders:
    """The splits of a tree: `DIR/CLASS/…`, or `DIR/train/CLASS/…` and others beside.

    Without a folder `test`, the images of `val` are the test split. Classes are those
    of the training split, in the order of their names.

    Attributes:
      splits: the names of those that there are.
      missing: what to do about a test split that is not there.
    """

    def __init__(self, place: places.Place):
        """Raises UsageError for a tree of another form, or an empty class."""
        root = place.path(_is_image)
        self._root, self._files = root, {}
        self.missing = f"put test images into {place.where}/test/CLASS/"
        if not any(path.is_dir() for path in _seen(root / "train")):
            self.missing += f" and the others into {place.where}/train/CLASS/"
        self._roots = _roots(root)
        self.splits = tuple(self._roots)
        self.class_names = tuple(_classes(self._roots["train"]))

    def fingerprint(self) -> int:
        """The checksum of all images, and of where in the tree they lie."""
        root = self._root
        files = [file for split in self.splits for file in self._found(split)[0]]
        names = [file.relative_to(root).as_posix() for file in files]
        sums = _mapped(checksums.checksum_file, files, f"checking {root.name}")
        return checksums.checksum_json(dict(zip(names, sums, strict=True)))

    def open(self, split: str, image_size: int | None, *crop: float) -> records.Stored:
        """The images and labels of a split; every image is decoded once, as a check.

        Images of another size than `image_size`, where that is given, are scaled until
        their shorter side has it, and the square in their middle is taken.

        Raises:
          specs.UsageError: an image is damaged or of another kind, or they vary in size
            and `image_size` is not given.
        """
        files, labels = self._found(split)
        gray, size = _common(files, image_size)
        shape = (*size, 1 if gray else 3)
        opened = functools.partial(_image, shape=shape)
        if len(files) * int(np.prod(shape)) > _KEPT:
            for _ in _mapped(_check, files, f"checking {split}"):
                pass
            read = functools.partial(_rows, files, labels, opened)
            return records.Stored(self.class_names, shape, labels, read, False)
        pixels = np.empty((len(files), *shape), np.uint8)
        for row, image in enumerate(_mapped(opened, files, f"reading {split}")):
            pixels[row] = image
        columns = {"image": pixels, "label": labels}
        return records.in_memory(self.class_names, columns)

    def _found(self, split) -> tuple[list[Path], np.ndarray]:
        """Files and labels [n] of a split."""
        if split not in self._files:
            self._files[split] = _listed(self._roots[split], self.class_names)
        return self._files[split]


def _is_image(name: str) -> bool:
    return name.lower().endswith(_READ + _REFUSED)


def _seen(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, in the order of the names."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _roots(root) -> dict[str, Path]:
    """Split -> the folder of its classes."""
    if not any(path.is_dir() for path in _seen(root / "train")):
        _check_no_splits(root)
        return {"train": root}
    found = {
        split: next((root / name for name in names if (root / name).is_dir()), None)
        for split, names in _SPLITS.items()
    }
    found["test"] = found["test"] or found["validation"]
    return {split: folder for split, folder in found.items() if folder is not None}


def _check_no_splits(root):
    """Raises UsageError for a folder of a split beside folders of classes."""
    names = {name for some in _SPLITS.values() for name in some} - {"train"}
    for path in _seen(root):
        if path.is_dir() and path.name in names:
            raise specs.UsageError(
                f"{path} is the name of a split, but there are no classes in "
                f"{root / 'train'}; put the training images into {root}/train/CLASS/"
            )


def _classes(folder) -> list[str]:
    names = [path.name for path in _seen(folder) if path.is_dir()]
    if len(names) < 2:
        have = f"is one folder, {names[0]}," if names else "are no folders"
        raise specs.UsageError(
            f"{folder}: there {have} in it; put the images of each class, two or "
            "more, into a subfolder of its name"
        )
    return names


def _listed(root, classes) -> tuple[list[Path], np.ndarray]:
    """The images below the folders of the classes, and their labels [n]."""
    strange = [p for p in _seen(root) if p.is_dir() and p.name not in classes]
    if strange:
        raise specs.UsageError(
            f"{strange[0]}: there are no training images of this class; add some, or "
            "take the folder away"
        )
    files, labels = [], []
    for label, name in enumerate(classes):
        if not (root / name).is_dir():
            continue  # a test split may lack a class
        found = list(_images(root / name))
        if not found:
            raise specs.UsageError(
                f"{root / name}: there are no images in it; add some, or take the "
                "folder away"
            )
        files += found
        labels += [label] * len(found)
    if not files:
        raise specs.UsageError(f"{root}: there are no folders of classes in it")
    return files, np.array(labels, np.int32)


def _images(folder: Path) -> Iterator[Path]:
    """The images at any depth, in the order of their paths."""
    found, seen = [], set()
    for place, inner, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back
            inner.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names if not name.startswith(".")]
    for file in sorted(found):
        if file.suffix.lower() in _REFUSED:
            raise specs.UsageError(
                f"{file}: {file.suffix} is not read; convert it to PNG or JPEG"
            )
        if file.suffix.lower() in _READ:
            yield storage.check_file(file, most=images.BYTES)


def _common(files, image_size) -> tuple[bool, tuple[int, int]]:
    """Whether all images are gray, and their height and width; of headers alone."""
    heads = list(_mapped(images.head, files, "looking at sizes"))
    for file, (mode, _) in zip(files, heads, strict=True):
        if mode[0] in "IF":
            raise specs.UsageError(
                f"{file}: it has more than 8 bits a channel (mode {mode}); save it "
                "with 8"
            )
    gray = all(mode in _GRAY for mode, _ in heads)
    if image_size is not None:
        return gray, (image_size, image_size)
    first = heads[0][1]
    for file, (_, size) in zip(files, heads, strict=True):
        if size != first:
            raise specs.UsageError(
                f"{file} is {size[1]} x {size[0]}, but {files[0]} is "
                f"{first[1]} x {first[0]}; give config.data.image_size, the side of "
                "the squares that all are cut to"
            )
    return gray, (first[1], first[0])


def _image(file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """An image, uint8 [h, w, c] of this shape."""
    mode = "L" if shape[-1] == 1 else "RGB"
    image = images.decode(images.read(file), file, mode)
    if image.size != (shape[1], shape[0]):
        image = crops.square(image, shape[0])
    return np.asarray(image).reshape(shape)


def _check(file: Path) -> None:
    # An eighth of the size is enough to see a broken stream.
    images.decode(images.read(file), file, draft=(1, 1))


def _rows(files, labels, opened, rows, draw):
    found = list(records.pool().map(opened, [files[row] for row in rows]))
    return {"image": np.stack(found), "label": labels[rows]}


def _mapped(work: Callable[[Path], Any], files: Iterable[Path], title) -> Iterator[Any]:
    """What `work` makes of each file, in order, by threads that are a little ahead."""
    files = list(files)
    # A bar appears on a terminal, and only where the work takes long.
    bar = tqdm(total=len(files), desc=title, disable=None, delay=2)
    with bar, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(files), _CHUNK):
            for result in threads.map(work, files[start : start + _CHUNK]):
                bar.update()
                yield result
