"""A few of the images that an attack has returned, for grids and checks."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A few attacked images for the report: arrays [k, …].

    Attributes:
      looks: [k, h, w], the share of all looks at each pixel of `adversarials`; None
        without a saliency network, as are the foreground's shares of them, `scores`,
        and `clean_scores` of `images`.
    """

    ids: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    adversarials: np.ndarray
    predictions: np.ndarray
    success: np.ndarray
    feasible: np.ndarray
    sizes: np.ndarray
    looks: np.ndarray | None = None
    scores: np.ndarray | None = None
    clean_scores: np.ndarray | None = None

    def first(self, count: int) -> "Pictures":
        """The first `count` of them."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        some = {name: v[:count] for name, v in given.items() if v is not None}
        return dataclasses.replace(self, **some)


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
