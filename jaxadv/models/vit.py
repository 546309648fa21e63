"""Vision transformers, with patches or a convolutional stem."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import attention, patches

STEMS = ("patch", "conv")


class TransformerBlock(nn.Module):
    """Attention and two layers on the channels, each added to what it was given.

    Dosovitskiy et al. (2021), equations 2 and 3.

    Attributes:
      heads: of the attention.
      dtype: of the activations.
    """

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Tokens [n, t, c] to [n, t, c]."""
        y = patches.layer_norm(self.dtype, "norm1")(x)
        x = x + attention.SelfAttention(self.heads, self.dtype, name="attn")(y)
        y = patches.layer_norm(self.dtype, "norm2")(x)
        return x + patches.Mlp(self.dtype, name="mlp")(y)


class VisionTransformer(patches.PatchClassifier):
    """A vision transformer that classifies by its class token.

    Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image
    Recognition at Scale" (2021), section 3.1. "patch" embeds patches by one
    convolution. "conv" is the stem of Singh, Croce and Hein, "Revisiting Adversarial
    Training for ImageNet" (2023): four 3x3 convolutions of stride 2 (see
    `patches.conv_stem`), then a 1x1 convolution. The taps are the tokens after a
    quarter, a half, three quarters and all of the blocks, laid out as they lie in the
    image, without the class token. Kernels, positions and class token start from
    N(0, 0.02^2), cut at two deviations (Touvron et al., "Training data-efficient image
    transformers and distillation through attention", 2021, section 6). `train` changes
    nothing: the stochastic depth that the latter train with is not here.

    Attributes:
      depth: number of blocks.
      width: channels of a token.
      heads: of the attention; `width` is a multiple.
      patch_size: pixels on a side of a patch; 16 for the convolutional stem.
      stem: "patch" or "conv".
      stem_width: channels of the first convolution of "conv"; each later one doubles.
      image_size: pixels on a side of the images, a multiple of `patch_size`.

    Raises:
      UsageError: a field is out of bounds, or the images are of another size.
    """

    depth: int = specs.static(12, minimum=1)
    width: int = specs.static(384, minimum=1)
    heads: int = specs.static(6, minimum=1)
    patch_size: int = specs.static(16, minimum=1)
    stem: str = specs.static("patch", choices=STEMS)
    stem_width: int = specs.static(48, minimum=1)
    image_size: int = specs.static(224, minimum=1)

    def __post_init__(self):
        super().__post_init__()
        attention.check_heads(self, self.width, self.heads)
        kind = type(self).__name__
        if self.stem == "conv" and self.patch_size != 16:
            raise specs.UsageError(
                f"{kind}.patch_size is {self.patch_size}; with the stem 'conv' it is 16"
            )
        if self.image_size % self.patch_size:
            raise specs.UsageError(
                f"{kind}.image_size is {self.image_size}; it must be a multiple of "
                f"patch_size, {self.patch_size}"
            )

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        del train
        patches.check_size(self, images, self.image_size)
        grid = self._stem(images)
        x, make = self._tokens(grid), self.block(TransformerBlock)
        tapped = {quarter * self.depth // 4 for quarter in range(1, 5)}
        for block in range(1, self.depth + 1):
            x = make(self.heads, self.dtype, name=f"block{block}")(x)
            if block in tapped:
                self.tap(x[:, 1:].reshape(grid.shape))
        return self.logits(patches.layer_norm(self.dtype, "final_norm")(x[:, 0]))

    def _stem(self, images):
        x, side = images, self.patch_size
        if self.stem == "conv":
            plan = [(2**i * self.stem_width, 2) for i in range(4)]
            x, side = patches.conv_stem(x, plan, self.dtype), 1
        return patches.conv(self.width, side, side, self.dtype, "stem")(x)

    def _tokens(self, grid):
        """The class token before those of the patches, with their positions."""
        x = grid.reshape(len(grid), -1, self.width)
        first = self.param("cls_token", patches.KERNEL, (1, 1, self.width))
        first = jnp.broadcast_to(first, (len(x), 1, self.width)).astype(self.dtype)
        x = jnp.concatenate([first, x], axis=1)
        places = self.param("pos_embed", patches.KERNEL, (1, *x.shape[1:]))
        return x + places.astype(self.dtype)


class ViTS16(VisionTransformer):
    """ViT-S/16 for 224x224 images: 22,050,664 parameters for 1000 classes."""


class ViTB16(VisionTransformer):
    """ViT-B/16 for 224x224 images: 86,567,656 parameters for 1000 classes."""

    width: int = specs.static(768, minimum=1)
    heads: int = specs.static(12, minimum=1)


class ViTS16ConvStem(ViTS16):
    """ViT-S/16, convolutional stem: 22,777,576 parameters for 1000 classes."""

    stem: str = specs.static("conv", choices=STEMS)


class ViTB16ConvStem(ViTB16):
    """ViT-B/16, convolutional stem: 87,147,112 parameters for 1000 classes."""

    stem: str = specs.static("conv", choices=STEMS)
