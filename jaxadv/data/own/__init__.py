"""One's own data, read where it lies: `npz:FILE`, `folder:DIR`, `tfds:NAME`."""

from jaxadv.data.own import folders, npz
from jaxadv.data.own.places import CARVED, Place, check_split, find

OPENERS = {"npz": npz.Arrays, "folder": folders.Folders}

__all__ = ["CARVED", "OPENERS", "Place", "check_split", "find"]
