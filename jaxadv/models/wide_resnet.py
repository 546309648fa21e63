"""Wide residual networks for images of CIFAR's size."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import layers, preact_resnet


class WideResNet(layers.ImageClassifier):
    """A wide residual network without dropout.

    Zagoruyko and Komodakis, "Wide Residual Networks" (2016), table 1. A 3x3
    convolution of 16 channels, three stages of (depth - 4) / 6 pre-activation blocks
    with 16, 32 and 64 times `widen_factor` channels, a normalization and ReLU, and
    the average. Kernels start from N(0, 2/fan_out), the output bias at zero. The
    taps are the stages' outputs before the last normalization.

    Attributes:
      depth: number of convolutions on the longest path plus three; 6 k + 4.
      widen_factor: channels of the first stage, in units of 16.
      activation: "relu" or "silu".
      padding: "both" or "far"; see `layers.conv`.
      remat: keep the blocks' inputs alone for a gradient, and compute what is inside
        once more: less memory, for the time of another forward pass.

    Raises:
      UsageError: `depth` is not 10, 16, 22, 28, ..., or another field is out of bounds.
    """

    depth: int = specs.static(28, minimum=10)
    widen_factor: int = specs.static(10, minimum=1)
    activation: str = specs.static("relu", choices=tuple(layers.ACTIVATIONS))
    padding: str = specs.static("both", choices=layers.PADDINGS)
    remat: bool = specs.static(False)

    def __post_init__(self):
        super().__post_init__()
        if (self.depth - 4) % 6:
            raise specs.UsageError(
                f"{type(self).__name__}.depth is {self.depth}; it must be 6 k + 4, "
                "such as 10, 16, 28 or 34"
            )

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        make = {"kernel_init": layers.HE_FAN_OUT, "dtype": self.dtype}
        forms = {"activation": self.activation, "padding": self.padding}
        kind = layers.remat(preact_resnet.PreActBlock, self.remat)
        x = layers.conv(16, 3, name="stem", **make)(images)
        for stage in (1, 2, 3):
            for block in range(1, (self.depth - 4) // 6 + 1):
                features = 8 * 2**stage * self.widen_factor
                strides = 2 if stage > 1 and block == 1 else 1
                name = f"stage{stage}_block{block}"
                x = kind(features, strides, **make, **forms, name=name)(x, train)
            self.tap(x)
        activate = layers.ACTIVATIONS[self.activation]
        x = activate(layers.batch_norm(train, self.dtype, "final_norm")(x))
        head = layers.torch_dense(self.num_classes, x.shape[-1], zero_bias=True)
        return head(layers.global_mean(x))


class WRN28x10(WideResNet):
    """WRN-28-10: 36,479,194 parameters for 10 classes."""


class WRN34x10(WideResNet):
    """WRN-34-10, as in TRADES: 46,160,474 parameters for 10 classes."""

    depth: int = specs.static(34, minimum=10)


class WRN34x15(WRN34x10):
    """WRN-34-15: 103,819,674 parameters for 10 classes."""

    widen_factor: int = specs.static(15, minimum=1)


class WRN34x20(WRN34x10):
    """WRN-34-20: 184,531,674 parameters for 10 classes."""

    widen_factor: int = specs.static(20, minimum=1)


class WRN40x2(WideResNet):
    """WRN-40-2: 2,243,546 parameters for 10 classes."""

    depth: int = specs.static(40, minimum=10)
    widen_factor: int = specs.static(2, minimum=1)


class WRN70x16(WideResNet):
    """WRN-70-16: 266,796,506 parameters for 10 classes."""

    depth: int = specs.static(70, minimum=10)
    widen_factor: int = specs.static(16, minimum=1)


class MadryBlock(nn.Module):
    """A pre-activation block whose shortcut has no parameters.

    Where the shape changes, the shortcut is the input's mean over windows of
    `strides` pixels, with zero channels on both sides.

    Attributes:
      features: output channels.
      strides: of the first convolution and the shortcut.
      activate_first: take the shortcut after the first normalization and ReLU.
      dtype: of the activations.
    """

    features: int
    strides: int
    activate_first: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[n, h, w, c] to [n, h / strides, w / strides, features]."""
        make = {"kernel_init": layers.HE_FAN_OUT, "dtype": self.dtype}
        active = _leaky(layers.batch_norm(train, self.dtype, "norm1")(x))
        x = active if self.activate_first else x
        y = layers.conv(self.features, 3, self.strides, name="conv1", **make)(active)
        y = _leaky(layers.batch_norm(train, self.dtype, "norm2")(y))
        y = layers.conv(self.features, 3, name="conv2", **make)(y)
        if self.strides > 1:
            x = nn.avg_pool(x, (self.strides,) * 2, (self.strides,) * 2)
        more = self.features - x.shape[-1]
        x = jnp.pad(x, ((0, 0),) * 3 + ((more // 2, more - more // 2),))
        return x + y


class MadryWRN(layers.ImageClassifier):
    """The wide ResNet of Madry et al.: 45,901,914 parameters for 10 classes.

    Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards Deep Learning Models Resistant
    to Adversarial Attacks" (2018), section 5 and its public code: 16 channels, then
    three groups of blocks with 160, 320 and 640, leaky ReLUs of slope 0.1 and
    shortcuts without parameters; model G of Wang et al., "Adversarial Attack
    Generation Empowered by Min-Max Optimization" (2021). Kernels start from
    N(0, 2/fan_out), the output bias at zero. The taps are the groups' outputs before
    the last normalization. The code's standardization of each image is left out.

    Attributes:
      blocks: residual blocks of each group.
      widen_factor: channels of the first group, in units of 16.

    Raises:
      UsageError: a field is out of bounds.
    """

    blocks: int = specs.static(5, minimum=1)
    widen_factor: int = specs.static(10, minimum=1)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        x = layers.conv(
            16, 3, name="stem", kernel_init=layers.HE_FAN_OUT, dtype=self.dtype
        )(images)
        for stage in (1, 2, 3):
            for block in range(1, self.blocks + 1):
                x = MadryBlock(
                    features=8 * 2**stage * self.widen_factor,
                    strides=2 if stage > 1 and block == 1 else 1,
                    activate_first=stage == block == 1,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{block}",
                )(x, train)
            self.tap(x)
        x = _leaky(layers.batch_norm(train, self.dtype, "final_norm")(x))
        head = layers.torch_dense(self.num_classes, x.shape[-1], zero_bias=True)
        return head(layers.global_mean(x))


def _leaky(x):
    return nn.leaky_relu(x, 0.1)
