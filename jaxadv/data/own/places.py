"""Names of one's own data, and what they stand for on the disk."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from jaxadv import specs
from jaxadv.data import catalog
from jaxadv.files import remote, storage

KINDS = {
    "npz": "npz:FILE, arrays that numpy.savez has written",
    "folder": "folder:DIR, images with one subfolder a class",
    "tfds": "tfds:NAME, a set that tensorflow_datasets has prepared",
}
# What to do about a test split that is not there; the rest depends on the kind.
CARVED = "train with config.data.test=0.2, which holds a fifth of the images out first"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a set lies.

    Attributes:
      name: as it was given.
      kind: one of `KINDS`.
      where: an absolute path, or a URL; of tfds the folder of the name, which holds the
        versions.
    """

    name: str
    kind: str
    where: str

    def path(self, wanted: remote.Wanted = lambda name: True) -> Path:
        """The absolute path; what is wanted of a remote set is copied first."""
        return remote.here(self.where, wanted)


def find(name: str, data_dir: str | os.PathLike | None = None) -> Place | None:
    """What a name stands for; None where it is no name of one's own data.

    Relative paths begin at `data_dir`, or else at the current folder. Either may be a
    URL.

    Raises:
      specs.UsageError: nothing follows the colon, there is no such file or folder, or
        the kind is `hf`, which is not read.
    """
    kind, colon, rest = name.partition(":")
    if colon and kind == "hf":
        raise specs.UsageError(
            f"config.data.name is {name!r}; hf: is not read: save the set once by "
            "numpy.savez (npz:FILE), or as images, one subfolder a class (folder:DIR)"
        )
    if not colon or kind not in KINDS:
        return None
    if not rest.strip():
        raise specs.UsageError(f"config.data.name is {name!r}; give {KINDS[kind]}")
    root = catalog.place(data_dir) if kind == "tfds" else remote.plain(data_dir or "")
    below = remote.plain(rest.partition(":")[0] if kind == "tfds" else rest)
    if remote.is_remote(below):
        return _remote(name, kind, below)
    if remote.is_remote(root) and not below.startswith(("/", "~")):
        return _remote(name, kind, f"{root.rstrip('/')}/{below}")
    path = Path(root, Path(below).expanduser()).absolute()
    if kind == "npz":
        storage.check_file(path, "config.data.name")
    elif kind == "folder" and not path.is_dir():
        raise specs.UsageError(f"config.data.name: there is no folder {path}")
    return Place(name, kind, str(path))


def _remote(name, kind, url) -> Place:
    """A place that has been seen to hold a file or a folder, as its kind wants."""
    if remote.look(url).is_file != (kind == "npz"):
        wanted = "file" if kind == "npz" else "folder"
        raise specs.UsageError(f"config.data.name is {name!r}; {url} is no {wanted}")
    return Place(name, kind, url)


def check_split(name: str, split: str, splits: Iterable[str], remedy: str) -> None:
    """Raises a UsageError, with the remedy for a test split, where there is none."""
    have = tuple(splits)
    if split not in have:
        ways = f": {remedy}, or {CARVED}" if split == "test" else ""
        told = ", ".join(map(repr, have))
        raise specs.UsageError(f"{name} has no split {split!r}; it has {told}{ways}")
