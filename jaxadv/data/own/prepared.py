"""A set that tensorflow_datasets has prepared, of whatever name."""

import json
import re

from jaxadv import specs
from jaxadv.data import catalog, records
from jaxadv.data.own import places
from jaxadv.files import checksums, remote

_AGAIN = "prepare it with file_format='array_record'"


class Prepared:
    """The splits of a set with the features `image` and `label`.

    Attributes:
      splits: the names of those that there are.
      missing: what to do about a test split that is not there.
    """

    missing = "prepare the set with one"

    def __init__(self, place: places.Place):
        """Raises UsageError unless the set is prepared, as ArrayRecord files."""
        self._place, self._at = place, _version(place)
        self._folder = remote.here(self._at, catalog.of_split(None))
        self.splits = records.splits(self._folder)
        kind = _format(self._folder)
        if kind != "array_record":
            raise specs.UsageError(
                f"{self._folder}: its files are {kind}, which only TensorFlow reads; "
                f"{_AGAIN}"
            )

    def fingerprint(self) -> int:
        """The checksum of all files that tfds has written."""
        remote.here(self._at, lambda name: "/" not in name)
        files = sorted(path for path in self._folder.iterdir() if path.is_file())
        return checksums.checksum_json(
            {file.name: checksums.checksum_file(file) for file in files}
        )

    def open(self, split: str, image_size: int | None, *crop: float) -> records.Stored:
        """The images and labels of a split; images that vary in size are cropped.

        Raises:
          specs.UsageError: the files are damaged, the features are others, or images
            vary in size and `image_size` is not given.
        """
        remote.here(self._at, catalog.of_split(split))
        stored = records.open_split(self._folder, split, image_size or 1, *crop)
        if stored.varying and image_size is None:
            raise specs.UsageError(
                f"{self._place.name}: its images vary in size; give "
                "config.data.image_size, the side of the squares that are cut of them"
            )
        return stored


def _version(place) -> str:
    """Where the files are: of the version in the name, or the highest one."""
    wanted, where = place.name.partition(":")[2].partition(":")[2], place.where
    found = [name.partition("/")[0] for name in remote.glob(where, f"*/{catalog.INFO}")]
    if wanted in found:
        return f"{where}/{wanted}"
    if found and not wanted:
        return f"{where}/{max(found, key=_numbers)}"
    if found:
        have = ", ".join(sorted(found, key=_numbers))
        raise specs.UsageError(f"{place.name}: there is no such version, but {have}")
    inner = remote.glob(where, f"*/*/{catalog.INFO}")
    configs = sorted({name.partition("/")[0] for name in inner})
    if configs:
        plain = where.rstrip("/").rpartition("/")[2]
        have = ", ".join(f"tfds:{plain}/{name}" for name in configs)
        raise specs.UsageError(f"{place.name} has configurations; give one of: {have}")
    raise specs.UsageError(
        f"{place.name}: no set is prepared in {where}; {_AGAIN}, or give "
        "config.data.data_dir, the data_dir of its builder"
    )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _format(folder) -> str:
    about = json.loads((folder / catalog.INFO).read_text())
    return about.get("fileFormat") or "tfrecord"
