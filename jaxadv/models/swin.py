"""Swin transformers: attention within windows that shift from block to block."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import attention, layers, patches

PATCH = 4  # pixels on a side
HIDDEN = -100.0  # what the scores of tokens that are no neighbors are lowered by

norm = functools.partial(patches.layer_norm, epsilon=1e-5)


class SwinBlock(nn.Module):
    """Attention within windows, then two layers on the channels, each added.

    Liu et al. (2021), equation 3. Where `shift` is not 0 the windows lie so many
    pixels down and to the right, and those that leave the image go on at its other
    side; tokens that are no neighbors in the image do not look at one another
    (section 3.2, figure 4). A number for each offset of two tokens is added to the
    scores (equation 4).

    Attributes:
      heads: of the attention.
      window: tokens on a side of a window.
      shift: of the windows, in tokens.
      dtype: of the activations.
    """

    heads: int
    window: int
    shift: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[n, h, w, c] to [n, h, w, c]; h and w are multiples of the window."""
        y = norm(self.dtype, "norm1")(x)
        y = jnp.roll(y, (-self.shift, -self.shift), (1, 2))
        attend = attention.SelfAttention(self.heads, self.dtype, name="attn")
        y = attend(windows(y, self.window), self._bias(x.shape[1:3]))
        y = unite(y, x.shape, self.window)
        x = x + jnp.roll(y, (self.shift, self.shift), (1, 2))
        y = norm(self.dtype, "norm2")(x)
        return x + patches.Mlp(self.dtype, name="mlp")(y)

    def _bias(self, sides):
        """What is added to the scores, [heads, t, t] or [windows, heads, t, t]."""
        shape = ((2 * self.window - 1) ** 2, self.heads)
        table = self.param("relative_position_bias_table", patches.KERNEL, shape)
        bias = table[offsets(self.window)].transpose(2, 0, 1)
        if not self.shift:
            return bias
        part = jnp.asarray(regions(sides, self.window, self.shift))
        apart = part[:, None, :, None] != part[:, None, None, :]
        return bias + jnp.where(apart, HIDDEN, 0.0)


def windows(x: Any, side: int) -> Any:
    """[n, h, w, c] cut into windows: [n, windows, side^2, c], in row-major order."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // side, side, w // side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, -1, side * side, c)


def unite(x: jax.Array, shape: tuple[int, ...], side: int) -> jax.Array:
    """What `windows` has cut, as [n, h, w, c] again."""
    n, h, w, c = shape
    x = x.reshape(n, h // side, w // side, side, side, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(shape)


def offsets(side: int) -> np.ndarray:
    """[t, t] of the t = side^2 tokens of a window: rows of the table of offsets.

    They count the offset of query from key row by row from the most negative one on.
    """
    place = np.stack(np.divmod(np.arange(side * side), side))
    down, right = place[:, :, None] - place[:, None, :] + side - 1
    return down * (2 * side - 1) + right


def regions(sides: tuple[int, int], window: int, shift: int) -> np.ndarray:
    """[windows, t]: equal where tokens of a shifted window are neighbors in the image.

    The last `shift` rows of the shifted image come from its top, as do columns.
    """
    rows, columns = (np.arange(s) >= s - shift for s in sides)
    part = (2 * rows[:, None] + columns).astype(np.int8)
    return windows(part[None, :, :, None], window)[0, :, :, 0]


class Swin(patches.PatchClassifier):
    """A Swin transformer; the taps are its stages' outputs.

    Liu, Lin, Cao, Hu, Wei, Zhang, Lin and Guo, "Swin Transformer: Hierarchical Vision
    Transformer using Shifted Windows" (2021), section 3: patches of 4x4 pixels, stages
    of blocks whose windows lie straight and shifted by half a window in turn, 2x2
    tokens united between stages, a normalization, the average and the output. Where
    one window covers a whole stage nothing is shifted. Kernels and tables start from
    N(0, 0.02^2), cut at two deviations, after its public code. `train` changes
    nothing: the stochastic depth that the paper trains with is not here.

    Attributes:
      stage_sizes: number of blocks of each stage; each stage after the first halves
        the image and doubles the channels.
      width: channels of the first stage.
      heads: of the attention in the first stage; each later stage doubles them.
      window: tokens on a side of a window.
      image_size: pixels on a side of the images; such that windows fill each stage.

    Raises:
      UsageError: a field is out of bounds, or the images are of another size.
    """

    stage_sizes: tuple[int, ...] = (2, 2, 6, 2)
    width: int = specs.static(96, minimum=1)
    heads: int = specs.static(3, minimum=1)
    window: int = specs.static(7, minimum=1)
    image_size: int = specs.static(224, minimum=1)

    def __post_init__(self):
        super().__post_init__()
        layers.check_stage_sizes(self.stage_sizes)
        attention.check_heads(self, self.width, self.heads)
        unit = PATCH * self.window * 2 ** (len(self.stage_sizes) - 1)
        if self.image_size % unit:
            raise specs.UsageError(
                f"{type(self).__name__}.image_size is {self.image_size}; windows of "
                f"{self.window} tokens need a multiple of {unit}"
            )

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        del train
        patches.check_size(self, images, self.image_size)
        x = patches.conv(self.width, PATCH, PATCH, self.dtype, "stem")(images)
        x, make = norm(self.dtype, "stem_norm")(x), self.block(SwinBlock)
        for stage, blocks in enumerate(self.stage_sizes, start=1):
            x = x if stage == 1 else self._merged(x, f"stage{stage}")
            heads = self.heads * 2 ** (stage - 1)
            half = self.window // 2 if x.shape[1] > self.window else 0
            for block in range(1, blocks + 1):
                shift = 0 if block % 2 else half
                name = f"stage{stage}_block{block}"
                x = make(heads, self.window, shift, self.dtype, name=name)(x)
            self.tap(x)
        return self.logits(layers.global_mean(norm(self.dtype, "final_norm")(x)))

    def _merged(self, x, name):
        """2x2 tokens side by side, the columns' place counting before the rows'."""
        n, h, w, c = x.shape
        x = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 4, 2, 5)
        x = norm(self.dtype, f"{name}_norm")(x.reshape(n, h // 2, w // 2, 4 * c))
        return patches.dense(2 * c, self.dtype, f"{name}_merge", use_bias=False)(x)


class SwinT(Swin):
    """Swin-T for 224x224 images: 28,288,354 parameters for 1000 classes."""


class SwinB(Swin):
    """Swin-B for 224x224 images: 87,768,224 parameters for 1000 classes."""

    stage_sizes: tuple[int, ...] = (2, 2, 18, 2)
    width: int = specs.static(128, minimum=1)
    heads: int = specs.static(4, minimum=1)


class SwinL(SwinB):
    """Swin-L for 224x224 images: 196,532,476 parameters for 1000 classes."""

    width: int = specs.static(192, minimum=1)
    heads: int = specs.static(6, minimum=1)
