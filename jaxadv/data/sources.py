"""Sources: labelled images with random access, whatever they are stored in."""

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np

from jaxadv import specs
from jaxadv.data import catalog, crops, records
from jaxadv.files import storage

Draw = tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Labelled images with random access; `n` is their number.

    Attributes:
      name: the data set.
      split: "train", "test", "validation", ...
      class_names: one for each class.
      image_shape: (height, width, channels).
      labels: int32 [n].
      read: gives the arrays of some rows; call `get`, which checks them.
      varying: the stored images vary in size, so each `draw` is a random crop.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    labels: np.ndarray
    read: Callable[[np.ndarray, Draw | None], dict[str, np.ndarray]]
    varying: bool = False

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.labels)

    def get(self, ids, draw: Draw | None = None) -> dict[str, np.ndarray]:
        """The examples at positions `ids`, stacked.

        Args:
          ids: integers [b] in 0..n-1.
          draw: seeds random crops, together with each id, where the stored
            images are larger than `image_shape`; None takes the center. Images
            stored in their final size are not touched.

        Returns:
          `image` uint8 [b, h, w, c] (or float32 in [0, 1] where `from_arrays` was
          given that), `label` int32 [b] and, where the set has foreground masks,
          `mask` uint8 [b, h, w, 1].

        Raises:
          IndexError: an id is outside 0..n-1.
        """
        rows = np.asarray(ids, np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"ids must be within 0..{len(self) - 1}: {rows}")
        return self.read(rows, draw)


def load(
    name: str,
    split: str,
    data_dir: str | os.PathLike | None = None,
    *,
    image_size: int = 224,
    min_area: float = crops.MIN_AREA,
    max_ratio: float = crops.MAX_RATIO,
) -> Source:
    """Opens a split of a prepared data set; prepares our own sets by itself.

    Args:
      name: a name of `catalog.DATASETS`, with or without a configuration.
      split: "train", "test" or "validation", as the set has them.
      data_dir: where prepared sets lie; see `catalog.root`.
      image_size: for sets whose images vary in size: the side of the crops.
      min_area: for the same, of random crops; see `crops.randomly`.
      max_ratio: the same.

    Raises:
      specs.UsageError: unknown name or split, the set is not prepared, or its
        files are damaged.
    """
    _, _, known = catalog.entry(name)
    if data_dir is not None:
        _check_there(name, data_dir)
    folder = catalog.find(name, data_dir)
    if folder is None and known.own:
        from jaxadv.data import prepare

        folder, _ = prepare.prepare(name, data_dir)
    if folder is None:
        path = catalog.root(data_dir)
        raise specs.UsageError(
            f"{name} is not prepared in {path}: run python -m jaxadv.data.prepare "
            f"{name} --data_dir {path} (with --from DIR for files already on disk)"
        )
    stored = records.open_split(folder, split, image_size, min_area, max_ratio)
    source = Source(name=name, split=split, **vars(stored))
    _check(source.image_shape, source.labels, source.num_classes, f"{folder}: {split}")
    return source


def _check_there(name, data_dir):
    """A folder that is not there is a slip of the pen, not one to be filled."""
    storage.check_folder(data_dir, "data_dir")
    if not os.path.isdir(data_dir):
        raise specs.UsageError(
            f"data_dir is {os.fspath(data_dir)!r}, but there is no such folder: "
            "correct it, or prepare the set there: python -m jaxadv.data.prepare "
            f"{name} --data_dir {data_dir}"
        )


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    split: str = "train",
) -> Source:
    """A source of arrays in memory.

    Args:
      images: uint8 [n, h, w, c], or floats [n, h, w, c] in [0, 1]; c is 1 or 3.
      labels: integers [n].
      mask: foreground masks [n, h, w, 1] of zeros and ones, where there are any.
      class_names: one for each class; by default the numbers up to the largest
        label.
      name: what the source is called.
      split: what the split is called.

    Raises:
      specs.UsageError: an array has the wrong shape, type or range.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    where = f"from_arrays({name!r})"
    if not (labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)):
        raise specs.UsageError(
            f"{where}: labels are {labels.dtype} {labels.shape}; give integers [n]"
        )
    if images.ndim != 4 or len(images) != len(labels):
        raise specs.UsageError(
            f"{where}: images are {images.shape} for {len(labels)} labels; "
            "give [n, h, w, c]"
        )
    images = _checked_range(images, where)
    if class_names is None:
        class_names = [str(i) for i in range(int(labels.max(initial=-1)) + 1)]
    _check(images.shape[1:], labels, len(class_names), where)
    columns = {"image": images, "label": labels.astype(np.int32)}
    if mask is not None:
        columns["mask"] = _checked_mask(np.asarray(mask), images, where)
    return Source(
        name,
        split,
        tuple(class_names),
        images.shape[1:],
        columns["label"],
        lambda rows, draw: {key: column[rows] for key, column in columns.items()},
    )


def split_train_validation(
    source: Source, size: float | int, seed: int
) -> tuple[Source, Source]:
    """Carves a validation split out of training data.

    The draw is stratified: each class gives its share, rounded so that the total
    is met. Both parts keep the order of `source` and have their own positions
    0, 1, ... as ids.

    Args:
      source: training data.
      size: a fraction in (0, 1), or the number of validation examples.
      seed: chooses the examples.

    Returns:
      (train, validation), disjoint and together all of `source`.

    Raises:
      specs.UsageError: `source` is no training split, or `size` leaves one part
        empty.
    """
    if source.split != "train":
        raise specs.UsageError(
            f"a validation split is carved from training data, not from the "
            f"{source.split!r} split of {source.name}"
        )
    total, fraction = len(source), 0 < size < 1
    count = round(size * total) if fraction else size
    if not 0 < count < total or count != int(count):
        raise specs.UsageError(
            f"validation size is {size}; it must be a fraction in (0, 1) or a count "
            f"in 1..{total - 1} that leaves no part of {source.name} empty"
        )
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(source.labels == c) for c in range(source.num_classes)]
    shares = np.array([len(rows) * count / total for rows in classes])
    takes = np.floor(shares).astype(int)
    # Largest remainders first; ties go to the lower class.
    order = np.argsort(takes - shares, kind="stable")
    takes[order[: int(count) - takes.sum()]] += 1
    chosen = [rng.permutation(r)[:k] for r, k in zip(classes, takes, strict=True)]
    held_out = np.zeros(total, bool)
    held_out[np.concatenate(chosen)] = True
    return (
        _subset(source, np.flatnonzero(~held_out), "train"),
        _subset(source, np.flatnonzero(held_out), "validation"),
    )


def _subset(source: Source, rows: np.ndarray, split: str) -> Source:
    return dataclasses.replace(
        source,
        split=split,
        labels=source.labels[rows],
        read=lambda ids, draw: source.read(rows[ids], draw),
    )


def _check(shape, labels: np.ndarray, classes: int, where: str) -> None:
    if shape[-1] not in (1, 3):
        raise specs.UsageError(
            f"{where}: images have {shape[-1]} channels; convert them to 1 (gray) "
            "or 3 (RGB), channels last"
        )
    if len(labels) == 0:
        raise specs.UsageError(f"{where}: there are no examples")
    for value in (labels.min(), labels.max()):
        if not 0 <= value < classes:
            raise specs.UsageError(
                f"{where}: label {value} is not within 0..{classes - 1}; renumber "
                "the labels from 0, or choose a labelled split"
            )


def _checked_range(images: np.ndarray, where: str) -> np.ndarray:
    """`images` as uint8 or float32, if their values fit."""
    low, high = (images.min(), images.max()) if images.size else (0, 0)
    if images.dtype == np.uint8:
        if high == 1:
            raise specs.UsageError(
                f"{where}: uint8 images hold only 0 and 1; multiply them by 255"
            )
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise specs.UsageError(
            f"{where}: images are {images.dtype}; convert them to uint8 in 0..255, "
            "or to floats in [0, 1]"
        )
    if not (low >= 0 and high <= 1):
        raise specs.UsageError(
            f"{where}: float images range over [{low}, {high}], not within [0, 1]; "
            "divide by 255, or undo the normalization"
        )
    return images.astype(np.float32)


def _checked_mask(mask: np.ndarray, images: np.ndarray, where: str) -> np.ndarray:
    if mask.shape != (*images.shape[:3], 1) or not np.isin(mask, (0, 1)).all():
        raise specs.UsageError(
            f"{where}: mask is {mask.dtype} {mask.shape}; give zeros and ones of "
            f"shape {(*images.shape[:3], 1)}"
        )
    return mask.astype(np.uint8)
