"""One's own data, read where it lies: `npz:FILE`, `folder:DIR`, `tfds:NAME`."""

from jaxadv.data.own import folders, npz, prepared
from jaxadv.data.own.places import CARVED, KINDS, Place, check_split, find

OPENERS = {"npz": npz.Arrays, "folder": folders.Folders, "tfds": prepared.Prepared}

__all__ = ["CARVED", "KINDS", "OPENERS", "Place", "check_split", "find"]
