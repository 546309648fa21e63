"""Masks of the foreground [h, w, 1]: where parts that take one get it from.

Such a part has the fields `mask`, an array or None, and `where`, which says which mask
None stands for: "central", or "dataset", the data set's own of each image.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv.specs import UsageError


def settle(part: Any) -> None:
    """A name that is given in the place of the mask becomes the part's `where`."""
    if isinstance(part.mask, str):
        object.__setattr__(part, "where", part.mask)
        object.__setattr__(part, "mask", None)


def wants(part: Any) -> Mapping[str, str]:
    """Field -> feature of the data set; see `protocols.wants`."""
    return {"mask": "mask"} if part.where == "dataset" else {}


def of(part: Any, image: jax.Array) -> Any:
    """The part's mask of an image [h, w, c], or that of its center.

    Raises:
      UsageError: it is the data set's, and has not been filled in.
    """
    if part.mask is None and part.where == "dataset":
        raise UsageError(
            f"{type(part).__name__}.mask is the data set's, which does not come here; "
            "run the attack by craft or craft_batches with features={'mask': …}, or "
            "give another mask"
        )
    return center(image.shape) if part.mask is None else part.mask


def center(shape: Any) -> Any:
    """[h, w, 1] mask of the central half of each side of an image of `shape`."""
    rows, columns = (
        (jnp.arange(n) >= n // 4) & (jnp.arange(n) < n - n // 4) for n in shape[:2]
    )
    return (rows[:, None] & columns[None, :])[..., None].astype(jnp.float32)
