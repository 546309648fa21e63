"""Self-attention of several heads."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import patches


class SelfAttention(nn.Module):
    """Tokens that look at one another.

    Vaswani et al., "Attention Is All You Need" (2017), section 3.2, with one layer for
    queries, keys and values. The softmax is float32 whatever `dtype` is.

    Attributes:
      heads: how many; they share the channels.
      dtype: of the activations.
    """

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        """[..., n, c] to [..., n, c].

        Args:
          x: n tokens.
          bias: what is added to the scores, broadcast to [..., heads, n, n], queries
            before keys.
        """
        *outer, channels = x.shape
        size = channels // self.heads
        split = patches.dense(3 * channels, self.dtype, "qkv")(x)
        split = split.reshape(*outer, 3, self.heads, size)
        query, key, value = (split[..., i, :, :] for i in range(3))
        scores = jnp.einsum(
            "...qhc,...khc->...hqk", query, key, preferred_element_type=jnp.float32
        )
        scores = size**-0.5 * scores
        weights = nn.softmax(scores if bias is None else scores + bias)
        mixed = jnp.einsum("...hqk,...khc->...qhc", weights.astype(self.dtype), value)
        return patches.dense(channels, self.dtype, "proj")(mixed.reshape(x.shape))


def check_heads(module: nn.Module, width: int, heads: int) -> None:
    """Checks that heads can share the channels.

    Raises:
      UsageError: `width` is no multiple of `heads`.
    """
    if width % heads:
        raise specs.UsageError(
            f"{type(module).__name__}.width is {width}; it must be a multiple of its "
            f"{heads} heads"
        )
