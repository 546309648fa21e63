"""Arrays of a set: what images, labels and masks must be, and their units."""

import numpy as np

from jaxadv import specs

_STEP = 1 / 255  # between two values of 8 bits


def check(shape: tuple[int, ...], labels: np.ndarray, classes: int, where: str) -> None:
    """Raises a UsageError unless a set of images [h, w, c] can be trained on.

    Args:
      shape: of one image.
      labels: integers [n].
      classes: their number.
      where: what the set is called in the message.
    """
    if 0 in shape:
        raise specs.UsageError(f"{where}: images of {shape} have no pixels")
    if shape[-1] not in (1, 3):
        raise specs.UsageError(
            f"{where}: images have {shape[-1]} channels; convert them to 1 (gray) "
            "or 3 (RGB), channels last"
        )
    if len(labels) == 0:
        raise specs.UsageError(f"{where}: there are no examples")
    for value in (labels.min(), labels.max()):
        if not 0 <= value < classes:
            raise specs.UsageError(
                f"{where}: label {value} is not within 0..{classes - 1}; renumber "
                "the labels from 0, or choose a labelled split"
            )


def pixels(images: np.ndarray, where: str) -> np.ndarray:
    """Images as uint8 or float32.

    Raises:
      UsageError: they have another type, or their values leave their unit in doubt.
    """
    low, high = (images.min(), images.max()) if images.size else (0, 0)
    if images.dtype == np.uint8:
        if high == 1:
            raise specs.UsageError(
                f"{where}: uint8 images hold only 0 and 1; multiply them by 255"
            )
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise specs.UsageError(
            f"{where}: images are {images.dtype}; convert them to uint8 in 0..255, "
            "or to floats in [0, 1]"
        )
    if not (low >= 0 and high <= 1):
        raise specs.UsageError(
            f"{where}: float images range over [{low}, {high}], not within [0, 1]; "
            "divide by 255, or undo the normalization"
        )
    if 0 < high <= _STEP:
        raise specs.UsageError(
            f"{where}: float images reach {high:.3g} only, below one step of 8 bits; "
            "were they divided by 255 twice? Give [0, 1]"
        )
    return images.astype(np.float32)


def mask(mask: np.ndarray, images: np.ndarray, where: str) -> np.ndarray:
    """Foreground masks [n, h, w, 1] of images [n, h, w, c] as uint8.

    Raises:
      UsageError: they have another shape, or hold more than zeros and ones.
    """
    if mask.shape != (*images.shape[:3], 1) or not np.isin(mask, (0, 1)).all():
        raise specs.UsageError(
            f"{where}: mask is {mask.dtype} {mask.shape}; give zeros and ones of "
            f"shape {(*images.shape[:3], 1)}"
        )
    return mask.astype(np.uint8)
