"""Readers for data sets in the formats in which they are handed around."""

from jaxadv.data.formats.cifar import read_cifar
from jaxadv.data.formats.contents import Contents
from jaxadv.data.formats.idx import read_idx
from jaxadv.data.formats.imagenet import read_imagenet

READERS = {"idx": read_idx, "cifar": read_cifar, "imagenet": read_imagenet}

__all__ = ["READERS", "Contents", "read_cifar", "read_idx", "read_imagenet"]
