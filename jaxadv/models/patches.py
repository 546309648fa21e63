"""What networks of patches share: stems, normalization, layers, recomputation."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import layers

KERNEL = nn.initializers.truncated_normal(0.02)
"""A normal distribution of deviation 0.02, cut at two of them."""


class PatchClassifier(layers.ImageClassifier):
    """A classifier whose blocks may be recomputed in the backward pass.

    Attributes:
      remat: keep no activations within the blocks, but compute them a second time for
        the gradient: a forward pass more, for less memory. On a CPU that holds for the
        gradient of images; that of parameters takes a tenth more memory.
    """

    remat: bool = specs.static(False)

    def block(self, kind: type[nn.Module]) -> Callable[..., Any]:
        """The class of a block, made to recompute itself where `remat` says so."""
        return nn.remat(kind) if self.remat else kind

    def logits(self, x: jax.Array) -> jax.Array:
        """Features [n, c] to float32 logits [n, num_classes], by the layer "head"."""
        return dense(self.num_classes, jnp.float32, "head")(x)


def check_size(module: nn.Module, images: jax.Array, side: int) -> None:
    """Checks that images have the size that a network is made for.

    Raises:
      UsageError: they are not `side` x `side` pixels.
    """
    height, width = images.shape[1:3]
    if (height, width) != (side, side):
        raise specs.UsageError(
            f"{type(module).__name__} got images of {height}x{width} pixels; it is "
            f"made for {side}x{side}: resize them, or set image_size for a network "
            "that is trained anew"
        )


def layer_norm(dtype: Any, name: str, epsilon: float = 1e-6) -> nn.LayerNorm:
    """Normalization over the channels, of each pixel or token by itself."""
    return nn.LayerNorm(epsilon, dtype=dtype, use_fast_variance=False, name=name)


def dense(features: int, dtype: Any, name: str, use_bias: bool = True) -> nn.Dense:
    """A layer on the channels, its bias zero at first."""
    return nn.Dense(
        features, use_bias=use_bias, dtype=dtype, kernel_init=KERNEL, name=name
    )


def conv(
    features: int, kernel: int, strides: int, dtype: Any, name: str, padding: int = 0
) -> nn.Conv:
    """A square convolution, its bias zero at first.

    With kernel and strides alike, and no padding, it embeds patches.
    """
    return nn.Conv(
        features,
        (kernel, kernel),
        strides,
        padding=padding,
        dtype=dtype,
        kernel_init=KERNEL,
        name=name,
    )


def conv_stem(x: jax.Array, plan: Sequence[tuple[int, int]], dtype: Any) -> jax.Array:
    """3x3 convolutions, a normalization and a GELU after each.

    Singh, Croce and Hein, "Revisiting Adversarial Training for ImageNet:
    Architectures, Training and Generalization across Threat Models" (2023), their
    ConvStem. The layers are `stem1`, `stem1_norm`, `stem2`, and so on.

    Args:
      x: images [n, h, w, c].
      plan: output channels and strides of each convolution.
      dtype: of the activations.

    Returns:
      [n, h', w', c'], each side divided by the product of the strides, rounded up.
    """
    for index, (features, strides) in enumerate(plan, start=1):
        x = conv(features, 3, strides, dtype, f"stem{index}", padding=1)(x)
        x = gelu(layer_norm(dtype, f"stem{index}_norm")(x))
    return x


def gelu(x: jax.Array) -> jax.Array:
    """x times the normal distribution function of x, without the tanh of others."""
    return nn.gelu(x, approximate=False)


class Mlp(nn.Module):
    """Two layers on the channels; a GELU on four times as many lies between.

    Attributes:
      dtype: of the activations.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., c] to [..., c]."""
        y = gelu(dense(4 * x.shape[-1], self.dtype, "fc1")(x))
        return dense(x.shape[-1], self.dtype, "fc2")(y)
