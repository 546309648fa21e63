"""Sources: labelled images with random access, whatever they are stored in."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxadv import specs
from jaxadv.data import catalog, checked, crops, masks, own, records
from jaxadv.files import remote, storage

Draw = tuple[int, ...]
_SIDE = 224  # of images that vary in size, as ImageNet is evaluated
_TEST_SEED = 0  # of carved test splits: all runs are judged on the same images


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
      fingerprint: checksum of the files of one's own data; None for other sets, whose
        files have their own checksums.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    labels: np.ndarray
    read: Callable[[np.ndarray, Draw | None], dict[str, np.ndarray]]
    varying: bool = False
    fingerprint: int | None = None

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
    image_size: int | None = None,
    min_area: float = crops.MIN_AREA,
    max_ratio: float = crops.MAX_RATIO,
    test: float | None = None,
) -> Source:
    """Opens a split of a data set; prepares our own sets by itself.

    Args:
      name: a name of `catalog.DATASETS`, with or without a configuration, the path
        `package.module:function` of a function (split) -> `Source`, or one's own data:
        `npz:FILE`, `folder:DIR` or `tfds:NAME`; see `own`.
      split: "train", "test" or "validation", as the set has them.
      data_dir: where prepared sets lie, see `catalog.root`; relative paths of one's own
        data begin there too. A URL is read by fsspec, and copied once; see `remote`.
      image_size: for sets whose images vary in size: the side of the squares that are
        made of them; by default 224 for the sets of the catalog.
      min_area: of random crops, where images are cropped as they are read; see
        `crops.randomly`.
      max_ratio: the same.
      test: for sets without a test split: how many training images are one, a fraction
        or a number, drawn by class, the same ones at every call; "train" is the rest.

    Raises:
      specs.UsageError: unknown name or split, the set is not prepared, or its
        files are damaged.
    """
    place, sizes = own.find(name, data_dir), (image_size, min_area, max_ratio)
    if place is None and catalog.foreign(name):
        splits, opened = _foreign(name)
    elif place is None:
        splits, opened = _prepared(name, data_dir, *sizes)
    else:
        splits, opened = _own(place, *sizes)
    if test is None:
        return opened(split)
    if "test" in splits():
        raise specs.UsageError(
            f"config.data.test is {test:g}, but {name} has a test split of its own; "
            "leave the field out"
        )
    return _with_test(opened, split, test)


def check_name(name: str, data_dir: str | os.PathLike | None = None) -> None:
    """Checks what can be known of a set before it is opened.

    Raises:
      specs.UsageError: its name is unknown, or there is no such file or folder.
    """
    if own.find(name, data_dir) is not None:
        return
    if catalog.foreign(name):
        _made_by(name)
    else:
        _entry(name)


def _made_by(name) -> Callable[[str], Source]:
    """The function of another package that opens a split."""
    return specs.lookup(name, catalog.DATASETS, "config.data.name")


def _entry(name) -> catalog.Entry:
    """What is known of a set of the catalog; a bare path is told its kind."""
    try:
        return catalog.entry(name)[-1]
    except specs.UsageError:
        for kind, fits in (("npz", name.endswith(".npz")), ("folder", "/" in name)):
            if fits and os.path.exists(name):
                raise specs.UsageError(
                    f"config.data.name is {name!r}; give {kind}:{name}"
                ) from None
        raise


def no_test(name: str, data_dir: str | os.PathLike | None = None) -> str:
    """What to say of one's own data that has no test split; "" where it has one."""
    place = own.find(name, data_dir)
    if place is None:
        return ""
    found = own.OPENERS[place.kind](place)
    if "test" in found.splits:
        return ""
    return f"{name} has no test split: {found.missing}, or {own.CARVED}"


def _with_test(opened, split, test) -> Source:
    """A split of a set whose training split is the test split too."""
    if split not in ("train", "test"):
        return opened(split)
    rest, held_out = _carve(opened("train"), test, _TEST_SEED, "config.data.test")
    return rest if split == "train" else dataclasses.replace(held_out, split="test")


def _prepared(name, data_dir, image_size, min_area, max_ratio):
    """What gives the splits of a set of the catalog, and what opens one."""

    def opened(split: str) -> Source:
        folder = _folder(name, data_dir, split)
        size = image_size or _SIDE
        stored = records.open_split(folder, split, size, min_area, max_ratio)
        stored = masks.attached(stored, folder, split)
        return _source(name, split, stored, f"{folder}: {split}")

    return (lambda: records.splits(_folder(name, data_dir))), opened


def _foreign(name):
    """The same of a set of another package."""
    make = _made_by(name)

    def opened(split: str) -> Source:
        source = make(split)
        if not isinstance(source, Source):
            raise specs.UsageError(
                f"config.data.name: {name} gives a {type(source).__name__}; it must "
                "give a jaxadv.data.sources.Source, as from_arrays makes one"
            )
        where = f"{name}: {split}"
        checked.check(source.image_shape, source.labels, source.num_classes, where)
        return dataclasses.replace(source, name=name, split=split)

    def splits():
        with contextlib.suppress(specs.UsageError):
            return ("train", opened("test").split)
        return ("train",)

    return splits, opened


def _own(place, *sizes):
    """The same of one's own data."""
    found = own.OPENERS[place.kind](place)

    def opened(split: str) -> Source:
        own.check_split(place.name, split, found.splits, found.missing)
        stored = found.open(split, *sizes)
        source = _source(place.name, split, stored, f"{place.name}: {split}")
        return dataclasses.replace(source, fingerprint=found.fingerprint())

    return (lambda: found.splits), opened


def _folder(name, data_dir, split=None) -> Path:
    """Where a set of the catalog lies, with the files of a split."""
    known, where = _entry(name), catalog.place(data_dir)
    away = remote.is_remote(where)
    if data_dir is not None and not away:
        _check_there(name, where)
    folder = catalog.find(name, data_dir, split)
    if folder is None and known.own and not away:
        from jaxadv.data import prepare

        folder, _ = prepare.prepare(name, data_dir)
    if folder is None:
        there = f"{name} is not prepared in {where}"
        if away:
            raise specs.UsageError(
                f"{there}: prepare it in a local folder, python -m jaxadv.data.prepare "
                f"{name} --data_dir DIR, and copy DIR/{name.partition('/')[0]} there"
            )
        raise specs.UsageError(
            f"{there}: run python -m jaxadv.data.prepare "
            f"{name} --data_dir {where} (with --from DIR for files already on disk)"
        )
    return folder


def _source(name, split, stored, where) -> Source:
    source = Source(name=name, split=split, **vars(stored))
    checked.check(source.image_shape, source.labels, source.num_classes, where)
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
    images = checked.pixels(images, where)
    if class_names is None:
        class_names = [str(i) for i in range(int(labels.max(initial=-1)) + 1)]
    checked.check(images.shape[1:], labels, len(class_names), where)
    columns = {"image": images, "label": labels.astype(np.int32)}
    if mask is not None:
        columns["mask"] = checked.mask(np.asarray(mask), images, where)
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
    return _carve(source, size, seed, "validation size")


def _carve(source, size, seed, what) -> tuple[Source, Source]:
    total, fraction = len(source), 0 < size < 1
    count = round(size * total) if fraction else size
    if not 0 < count < total or count != int(count):
        raise specs.UsageError(
            f"{what} is {size}; it must be a fraction in (0, 1) or a count "
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
