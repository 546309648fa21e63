"""Reads prepared ArrayRecord files, and keeps what it has decoded.

Beside the prepared files of a set lies a folder of plain `.npy` arrays, made at
the first opening: the labels and, where all images have one size, the images.
Later openings map it into memory and need no tfds; each process reads it once, to
compare its checksums. Images of varying size stay encoded and are decoded on demand,
by threads.
"""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxadv import extras, protocols, specs
from jaxadv.data import crops
from jaxadv.files import checksums

_CHUNK = 256
_ABOUT = "class_names.json"  # and the checksums; in older folders the names alone
_WORK = ".decoding-"
_COLUMNS = ("image", "label", *protocols.FEATURES)


@dataclasses.dataclass(frozen=True)
class Stored:
    """An open split; the fields are those of `sources.Source`."""

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    labels: np.ndarray
    read: Callable[[np.ndarray, tuple[int, ...] | None], dict[str, np.ndarray]]
    varying: bool


def open_split(
    folder: Path,
    split: str,
    image_size: int,
    min_area: float = crops.MIN_AREA,
    max_ratio: float = crops.MAX_RATIO,
) -> Stored:
    """Opens `split` of the prepared set in `folder`.

    Args:
      folder: the version folder that tfds wrote.
      split: a split of the set.
      image_size: the side of the crops, for images of varying size.
      min_area: of their random crops; see `crops.randomly`.
      max_ratio: the same.

    Raises:
      specs.UsageError: there is no such split, or its files are damaged.
    """
    kept = folder / "decoded" / split
    try:
        if kept.is_dir():
            names, columns = _load(kept)
        else:
            names, columns = _decode(folder, split)
            _keep(kept, names, columns)
        if "image" in columns:
            read, shape = functools.partial(_rows, columns), columns["image"].shape[1:]
        else:
            info, records = _records(folder, split)
            if None not in info.features["image"].shape:
                raise _damaged(kept, "its images are missing")
            cut = functools.partial(
                crops.randomly, min_area=min_area, max_ratio=max_ratio
            )
            read = functools.partial(_crops, records, columns["label"], image_size, cut)
            shape = (image_size, image_size, 3)
    except specs.UsageError:
        raise
    except Exception as error:  # tfds and array_record raise what they like
        reason = str(error).strip().partition("\n")[0]
        raise specs.UsageError(
            f"{folder}: the files cannot be read ({type(error).__name__}: {reason}); "
            "delete the folder and prepare the set again"
        ) from error
    varying = "image" not in columns
    return Stored(names, shape, np.array(columns["label"]), read, varying)


def in_memory(class_names: tuple[str, ...], columns: dict[str, np.ndarray]) -> Stored:
    """A split of columns that are there as a whole: `image`, `label`, maybe `mask`."""
    labels = columns["label"]
    for label in (labels.min(initial=0), labels.max(initial=0)):
        if abs(int(label)) >= 2**31:  # before it wraps around
            last = len(class_names) - 1
            raise specs.UsageError(f"label {label} is not within 0..{last}")
    columns = {**columns, "label": columns["label"].astype(np.int32)}
    shape = columns["image"].shape[1:]
    read = functools.partial(_rows, columns)
    return Stored(class_names, shape, columns["label"], read, False)


def splits(folder: Path) -> tuple[str, ...]:
    """The names of the splits of the prepared set in `folder`.

    Raises:
      specs.UsageError: the file that tells them is damaged.
    """
    file = folder / "dataset_info.json"
    try:
        return tuple(split["name"] for split in json.loads(file.read_text())["splits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise specs.UsageError(
            f"{file} cannot be read ({error}); delete the folder and prepare the set "
            "again"
        ) from None


def _rows(columns, rows, draw):
    return {key: column[rows] for key, column in columns.items()}


def _crops(records, labels, size, cut, rows, draw):
    """Decoded crops; the randomness of each depends on `draw` and its row only."""

    def crop(row, record):
        if draw is None:
            return crops.center(record["image"], size)
        rng = np.random.default_rng((*draw, int(row)))
        return cut(record["image"], size, rng)

    found = records.__getitems__([int(row) for row in rows])
    images = list(pool().map(crop, rows, found))
    stacked = np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8)
    return {"image": stacked, "label": labels[rows]}


@functools.cache
def pool() -> concurrent.futures.ThreadPoolExecutor:
    """The threads that decode images, as many as there are processors."""
    return concurrent.futures.ThreadPoolExecutor(os.cpu_count())


def _records(folder: Path, split: str) -> tuple[Any, Any]:
    """What tfds knows of the set, and its records, encoded images left encoded."""
    tfds = extras.needs("tensorflow_datasets", "data")
    extras.needs("array_record", "data")
    builder = tfds.builder_from_directory(folder)
    info = builder.info
    if split not in info.splits:
        have = ", ".join(map(repr, info.splits))
        raise specs.UsageError(
            f"{info.name} has no split {split!r}; it has {have} (a validation split "
            "can be carved from 'train' with split_train_validation)"
        )
    encoded = isinstance(info.features["image"], tfds.features.Image)
    decoders = {"image": tfds.decode.SkipDecoding()} if encoded else None
    return info, builder.as_data_source(split, decoders=decoders)


def _decode(folder: Path, split: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Class names, and the columns that are kept of a split."""
    info, records = _records(folder, split)
    _check_features(folder, info)
    wanted = [key for key in _COLUMNS if key in info.features]
    if None in info.features["image"].shape:
        wanted = ["label"]
    columns: dict[str, np.ndarray] = {}
    for key in wanted:
        kind = np.int32 if key == "label" else np.uint8
        columns[key] = np.empty((len(records), *info.features[key].shape), kind)
    # A bar appears on a terminal, and only where the work takes long.
    bar = tqdm(total=len(records), desc=f"reading {split}", disable=None, delay=2)
    with bar:
        for start in range(0, len(records), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(records)))
            for row, record in zip(rows, records.__getitems__(list(rows)), strict=True):
                if isinstance(record["image"], bytes) and "image" in wanted:
                    shape = columns["image"].shape[1:]
                    record["image"] = crops.whole(record["image"], shape)
                for key in wanted:
                    columns[key][row] = record[key]
            bar.update(len(rows))
    return tuple(info.features["label"].names), columns


def _check_features(folder, info) -> None:
    """Raises UsageError for a set of something else than labelled images."""
    tfds = extras.needs("tensorflow_datasets", "data")
    features: dict[str, Any] = dict(info.features.items())
    image, label = (features.get(key) for key in ("image", "label"))
    named = isinstance(label, tfds.features.ClassLabel)
    size = () if image is None else image.shape
    if not (named and image is not None and image.np_dtype == np.uint8 and size[2:]):
        shown = sorted(features.items())  # tfds has no order of its own
        has = ", ".join(f"{key} ({type(v).__name__})" for key, v in shown)
        raise specs.UsageError(
            f"{folder}: its features are {has}; needed are image, of 8 bits a channel, "
            "and label, a ClassLabel"
        )


def _keep(kept: Path, names, columns) -> None:
    """Writes the columns, at once or not at all; a folder may be read-only."""
    with contextlib.suppress(OSError):
        kept.parent.mkdir(exist_ok=True)
        _remove_abandoned(kept.parent)
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=kept.parent))
        lock = os.open(work, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            for key, column in columns.items():
                np.save(work / f"{key}.npy", column)
            sums = {file.name: checksums.checksum_file(file) for file in work.iterdir()}
            sums[_ABOUT] = checksums.checksum_json(names)
            about = {"class_names": names, "checksums": sums}
            (work / _ABOUT).write_text(json.dumps(about))
            work.chmod(0o755)
            work.rename(kept)  # fails where another process was faster
        finally:
            os.close(lock)
            shutil.rmtree(work, ignore_errors=True)


def _remove_abandoned(folder):
    """Removes what killed processes have left: their locks are gone."""
    for work in folder.glob(f"{_WORK}*"):
        with contextlib.suppress(OSError):
            lock = os.open(work, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(work, ignore_errors=True)
            finally:
                os.close(lock)


def _load(kept: Path) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Class names and columns.

    Raises:
      specs.UsageError: they are damaged.
    """
    columns = {}
    try:
        about = json.loads((kept / _ABOUT).read_text())
        if isinstance(about, dict):
            names, sums = about["class_names"], about["checksums"]
            if sums.pop(_ABOUT) != checksums.checksum_json(names):
                raise ValueError(f"the checksum of {_ABOUT} is wrong")
            _verify(
                kept, tuple((name, *_state(kept / name), sums[name]) for name in sums)
            )
        else:
            names = about
        for key in _COLUMNS:
            file = kept / f"{key}.npy"
            if file.is_file():
                columns[key] = np.load(file, mmap_mode="r")
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise _damaged(kept, str(error).partition("\n")[0]) from error
    lengths = {key: len(column) for key, column in columns.items()}
    if "label" not in columns or len(set(lengths.values())) != 1:
        raise _damaged(kept, f"it holds columns of lengths {lengths}")
    return tuple(names), columns


def _state(file):
    """What changes with a file."""
    found = file.stat()
    return found.st_size, found.st_ino, found.st_mtime_ns


@functools.cache
def _verify(kept: Path, wanted: tuple[tuple[str, int, int, int, int], ...]) -> None:
    """Compares (name, size, inode, time, checksum) of files; once while they stay.

    Raises:
      ValueError: a checksum is wrong.
    """
    total = sum(size for _, size, *_ in wanted)
    # A bar appears on a terminal, and only where the work takes long.
    bar = tqdm(
        total=total,
        desc=f"checking {kept.name}",
        unit="B",
        unit_scale=True,
        disable=None,
        delay=2,
    )
    with bar:
        for name, *_, kept_sum in wanted:
            if checksums.checksum_file(kept / name, bar.update) != kept_sum:
                raise ValueError(f"the checksum of {name} is wrong")


def _damaged(kept, problem):
    return specs.UsageError(
        f"{kept} is damaged: {problem}; delete it, and it is made again from the "
        "prepared files (where these are damaged too, delete the folder and prepare "
        "the set again)"
    )
