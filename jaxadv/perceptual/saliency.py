"""Saliency: where in an image people are expected to look.

A saliency network maps an image [h, w, c] to a log-density [h, w]: its exponentials sum
to 1 over the pixels, as those of DeepGaze do (Kümmerer, Wallis and Bethge, "DeepGaze
II", 2016). `jaxadv saliency` trains a small one on the foreground masks of a data set.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import linen as nn
from flax import traverse_util

from jaxadv import struct
from jaxadv.files import storage
from jaxadv.plugins import Registry
from jaxadv.specs import UsageError

_ABOUT = "jaxadv_saliency"


class SaliencyNet(nn.Module):
    """Images [n, h, w, c] to logits [n, h, w] over their pixels.

    Two scales: convolutions at half the size see the whole object, and one at full size
    where its edges are.

    Attributes:
      width: channels at full size; twice as many at half size.
    """

    width: int = 16

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        fine = nn.relu(nn.Conv(self.width, (3, 3))(images))
        coarse = nn.relu(nn.Conv(2 * self.width, (3, 3), (2, 2))(fine))
        for dilation in (1, 2, 4):
            wide = nn.Conv(2 * self.width, (3, 3), kernel_dilation=dilation)
            coarse = nn.relu(wide(coarse)) + coarse
        shape = (*images.shape[:3], coarse.shape[-1])
        both = jnp.concatenate([fine, jax.image.resize(coarse, shape, "linear")], -1)
        return nn.Conv(1, (3, 3))(both)[..., 0]


@struct.dataclass
class Saliency:
    """A saliency network with its weights, called on ONE image in [0, 1].

    Attributes:
      variables: of the module.
      module: called on images [n, h, w, c], less 1/2; static. Its logits [n, h, w] may
        have any sum: they are normalized here.

    Example:
      >>> net = ja.perceptual.saliency.SaliencyNet(width=4)
      >>> variables = net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
      >>> found = ja.perceptual.saliency.Saliency(variables, net)(jnp.zeros((8, 8, 3)))
      >>> found.shape, round(float(jnp.exp(found).sum()), 4)
      ((8, 8), 1.0)
    """

    variables: Any
    module: Any = struct.field(pytree_node=False, default=None)

    def __call__(self, image: jax.Array) -> jax.Array:
        """The log-density [h, w] of an image [h, w, c]."""
        logits = self.module.apply(self.variables, image[None] - 0.5)[0]
        return jax.nn.log_softmax(logits.astype(jnp.float32), axis=(-2, -1))


def foreground_score(log_density: jax.Array, mask: jax.Array) -> jax.Array:
    """The share of all looks that fall on the foreground, from 0 to 1.

    The printed attack names a foreground score without a formula; this one is ours.

    Args:
      log_density: [h, w].
      mask: [h, w, 1] or what broadcasts to it, 1 on the foreground.
    """
    return jnp.sum(jnp.exp(log_density)[..., None] * mask)


def save(path: str | os.PathLike, network: Saliency) -> None:
    """Writes a `SaliencyNet` and its weights as a `.safetensors` file."""
    flat = traverse_util.flatten_dict(network.variables, sep="/")
    arrays = {name: np.array(value) for name, value in flat.items()}
    about = {_ABOUT: json.dumps({"width": network.module.width})}
    with storage.replacing(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary, about)


def load(path: str) -> Saliency:
    """The network of a file that `save` or `jaxadv saliency` wrote.

    Raises:
      UsageError: there is no such file, or it holds no saliency network.
    """
    if not Path(path).is_file():
        raise UsageError(
            f"network.path: there is no file {str(path)!r}; make one by `jaxadv "
            "saliency --data=shapes --output=FILE`"
        )
    try:
        with safetensors.safe_open(path, "numpy") as file:
            about: Mapping[str, str] = file.metadata() or {}
        module = SaliencyNet(**json.loads(about[_ABOUT]))
        flat = safetensors.numpy.load_file(path)
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError):
        raise UsageError(f"network.path: {path} holds no saliency network") from None
    return Saliency(traverse_util.unflatten_dict(flat, sep="/"), module)


def file(path: str) -> Saliency:
    """That of a file; see `load`."""
    return load(path)


SALIENCY = Registry("saliency", {"file": file})
