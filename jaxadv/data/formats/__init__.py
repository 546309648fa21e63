"""Readers for data sets in the formats in which they are handed around."""

from jaxadv.data.formats.cifar import read_cifar
from jaxadv.data.formats.coco import read_segment6
from jaxadv.data.formats.contents import Contents
from jaxadv.data.formats.idx import read_idx
from jaxadv.data.formats.imagenet import read_imagenet, read_imagenet10

READERS = {
    "idx": read_idx,
    "cifar": read_cifar,
    "imagenet": read_imagenet,
    "imagenet10": read_imagenet10,
    "coco": read_segment6,
}

__all__ = [
    "READERS",
    "Contents",
    "read_cifar",
    "read_idx",
    "read_imagenet",
    "read_imagenet10",
    "read_segment6",
]
