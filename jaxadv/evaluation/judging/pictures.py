"""A few of the images that an attack has returned, for grids and checks."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A few attacked images for the report: arrays [k, …]."""

    ids: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    adversarials: np.ndarray
    predictions: np.ndarray
    success: np.ndarray
    feasible: np.ndarray
    sizes: np.ndarray

    def first(self, count: int) -> "Pictures":
        """The first `count` of them."""
        fields = dataclasses.fields(self)
        return Pictures(**{f.name: getattr(self, f.name)[:count] for f in fields})


def mixed(success: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """At most `count` images to show: half of them withstood, if there are so many.

    The broken ones come first, each kind in the order of `choose`. Where one kind is
    too few the other fills up.

    Args:
      success: bool [n].
      labels: int [n].
      count: how many.
    """
    order = choose(success, labels)
    broken, left = order[success[order]], order[~success[order]]
    most = max(count - count // 2, count - len(left))
    first = broken[:most]
    return np.concatenate([first, left[: count - len(first)]])


def choose(success: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An order [n] of images: broken ones first, each of another class in turn.

    Args:
      success: bool [n].
      labels: int [n].
    """
    turn = np.zeros(len(labels), int)
    for kind in {*zip(success, labels, strict=True)}:
        same = (success == kind[0]) & (labels == kind[1])
        turn[same] = np.arange(np.sum(same))
    return np.lexsort((labels, turn, ~success))
