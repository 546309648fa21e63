"""Images, labels, ids and logits: what they must be, whoever hands them over.

Shapes and dtypes are checked of traced arrays as well. Values are looked at on the
host, and only where they are known.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxadv.specs import UsageError

_ROUNDING = 1e-3  # by no more are values outside [0, 1] if arithmetic put them there
_REMEDIES = {"u": "astype(np.float32) / 255", "f": "astype(np.float32)"}


def concrete(value: Any) -> np.ndarray | None:
    """`value` on the host; None where it is traced, abstract or on other hosts."""
    if isinstance(value, (Tracer, jax.ShapeDtypeStruct)):
        return None
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        return None
    return np.asarray(value)


def check_float32(images: Any, where: str = "images") -> None:
    """Checks that `images` are one array of float32, or of float64 if jax takes them.

    Raises:
      UsageError: they are something else; says how to convert them.
    """
    dtype = getattr(images, "dtype", None)
    if dtype is None:
        raise UsageError(
            f"{where} is a {type(images).__name__}; it must be one array of float32"
        )
    exact = np.float64 if jax.config.jax_enable_x64 else np.float32  # type: ignore
    if dtype not in (np.float32, exact):
        remedy = _REMEDIES.get(dtype.kind, "astype(np.float32), in [0, 1]")
        raise UsageError(
            f"{where}: the dtype is {dtype}; it must be float32 in [0, 1]: give "
            f"{where}.{remedy}"
        )


def check_images(images: Any) -> None:
    """Checks that `images` are one float32 array [n, h, w, c] or [n, k, h, w, c].

    Raises:
      UsageError: they are something else.
    """
    check_float32(images)
    shape = tuple(images.shape)
    if len(shape) not in (4, 5):
        hint = "; give images[None] for one image" if len(shape) == 3 else ""
        raise UsageError(f"images: the shape is {shape}; it must be [n, h, w, c]{hint}")


def check_labels(labels: Any, wanted: tuple[int, ...], where: str = "labels") -> None:
    """Checks that `labels` are integers of shape `wanted`.

    Raises:
      UsageError: they are something else.
    """
    shape, dtype = tuple(labels.shape), labels.dtype
    if shape != wanted:
        hint = ""
        if len(shape) == len(wanted) + 1 and shape[:-1] == wanted:
            take = "[..., 0]" if shape[-1] == 1 else ".argmax(-1)"
            hint = f": give {where}{take}"
        elif len(shape) == len(wanted) and shape[:1] != wanted[:1]:
            hint = ", one for each image"
        raise UsageError(f"{where}: the shape is {shape}; it must be {wanted}{hint}")
    if dtype.kind not in "iu":
        raise UsageError(
            f"{where}: the dtype is {dtype}; they must be whole numbers, the indices "
            f"of classes: give {where.rpartition(' ')[2]}.astype(np.int32)"
        )


def outside(images: np.ndarray) -> np.ndarray:
    """[n] bool: which of the images [n, …] have values outside [0, 1], or NaN."""
    inside = (images >= 0) & (images <= 1)
    return ~np.all(inside, axis=tuple(range(1, images.ndim)))


def foreign(labels: np.ndarray, classes: int) -> np.ndarray:
    """[n] bool: which of the labels [n, …] are the index of none of `classes`."""
    known = (labels >= 0) & (labels < classes)
    return ~np.all(known, axis=tuple(range(1, labels.ndim)))


def examples(ids: np.ndarray, bad: np.ndarray) -> str:
    """The first ids [n] where `bad` [n] is true, for a message."""
    more = ", …" if np.sum(bad) > 5 else ""
    return f"examples {', '.join(map(str, ids[bad][:5]))}{more}"


def check_pixels(images: np.ndarray, ids: np.ndarray, where: str = "images") -> None:
    """Checks the values of images [n, …], which are called by their `ids` [n].

    Raises:
      UsageError: some are outside [0, 1], NaN or infinite.
    """
    bad = outside(images)
    if not np.any(bad):
        return
    count, which = f"{np.sum(bad)} of {len(images)}", examples(ids, bad)
    if not np.all(np.isfinite(images)):
        broken = ~np.all(np.isfinite(images), axis=tuple(range(1, images.ndim)))
        raise UsageError(
            f"{where}: {np.sum(broken)} of {len(images)} hold values that are not "
            f"finite ({examples(ids, broken)}); leave these out, or mend them"
        )
    low, high = np.min(images), np.max(images)
    if low > -_ROUNDING and high < 1 + _ROUNDING:
        raise UsageError(
            f"{where}: {count} leave [0, 1] by rounding ({which}), from {low:.9g} to "
            f"{high:.9g}; give {where}.clip(0, 1)"
        )
    raise UsageError(
        f"{where}: {count} have values outside [0, 1] ({which}), from {low:g} to "
        f"{high:g}; scale them{_scale(low, high)}"
    )


def _scale(low, high):
    """How images that are no strangers were most likely scaled."""
    if low >= -1 and high <= 1:
        return ": [-1, 1] becomes [0, 1] by (x + 1) / 2"
    if low >= 0 and 2 < high <= 255:
        return ": [0, 255] becomes [0, 1] by x / 255"
    return ", and leave normalization to the Classifier's mean and std"


def check_classes(
    labels: np.ndarray, classes: int, ids: np.ndarray | None, where: str = "labels"
) -> None:
    """Checks that the labels or targets [n, …] or [] are indices of `classes` classes.

    Raises:
      UsageError: some are not.
    """
    remedy = f"give indices from 0 to {classes - 1}"
    if labels.ndim == 0:
        if not 0 <= labels < classes:
            raise UsageError(
                f"{where} is {labels}; the network has {classes} classes: {remedy}"
            )
        return
    bad = foreign(labels, classes)
    if np.any(bad):
        which = examples(np.arange(len(labels)) if ids is None else ids, bad)
        raise UsageError(
            f"{where}: {np.sum(bad)} of {len(labels)} are outside the network's "
            f"{classes} classes ({which}), from {np.min(labels)} to {np.max(labels)}; "
            + remedy
        )


def check_pair(image: Any, other: Any, values: bool = True) -> None:
    """Checks that two images [h, w, c] are of one size, in [0, 1] where that is known.

    Args:
      values: look at them.

    Raises:
      UsageError: they are not.
    """
    check_one(image)
    check_one(other)
    if image.shape != other.shape:
        raise UsageError(
            f"distance: the images have shapes {tuple(image.shape)} and "
            f"{tuple(other.shape)}; give two of one shape"
        )
    for given in (image, other) if values else ():
        if (known := concrete(given)) is not None:
            check_pixels(known[None], np.arange(1), "distance")


def check_one(image: Any) -> None:
    """Checks that `image` is [h, w, c] and holds floating-point numbers.

    Raises:
      UsageError: it does not.
    """
    shape, dtype = tuple(np.shape(image)), getattr(image, "dtype", None)
    if len(shape) != 3:
        raise UsageError(
            f"distance: an image has shape {shape}; it must be [h, w, c]: "
            "of batches take jax.vmap(distance)"
        )
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        kind = type(image).__name__ if dtype is None else dtype
        raise UsageError(
            f"distance: an image is {kind}; it must be floating-point in [0, 1]: "
            "give image.astype(np.float32) / 255"
        )


def check_finite(tensors: Mapping[str, Any], where: str) -> None:
    """Checks the numbers of a network, name -> array; `where` they come from.

    Raises:
      UsageError: a tensor holds NaN or infinite numbers as float32; names it.
    """
    for name, tensor in tensors.items():
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(np.asarray(tensor, np.float32))
        if np.any(bad):
            raise UsageError(
                f"{where}: {np.sum(bad)} of the {bad.size} numbers of {name} are NaN "
                "or infinite; fetch the file again, or take another checkpoint"
            )


class BadLogits(UsageError):
    """A network returns something else than one number for each class."""


def check_logits(logits: Any) -> None:
    """Checks that a network's output for one image is [classes], by shape and dtype.

    Raises:
      BadLogits: it is a scalar, one logit, batched, no array, or no real numbers.
    """
    shape = getattr(logits, "shape", None)
    if shape is None:
        kind = type(logits).__name__
        raise BadLogits(
            f"the network returns a {kind}; it must be an array of logits [classes] "
            "for one image: return that part of it alone"
        )
    if len(shape) != 1 or shape[0] < 2:
        hints = {0: "give [0, z] for one logit z", 1: "give [0, z] for one logit z"}
        hint = hints.get(len(shape), "give the logits of one image, as logits[0]")
        raise BadLogits(
            f"logits of shape {tuple(shape)}; must be [classes] with at least 2; {hint}"
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise BadLogits(
            f"logits are {logits.dtype}; they must be floating-point: of whole numbers "
            "no gradient is left"
        )
