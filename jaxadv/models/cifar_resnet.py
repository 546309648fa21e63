"""Residual networks of three stages for images of CIFAR's size."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import layers, resnet


class PlainBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters.

    Where the shape changes, the shortcut takes every `strides`-th pixel and appends
    channels of zeros (He et al., 2016, option A).

    Attributes:
      features: output channels, at least those of the input.
      strides: of the first convolution and the shortcut.
      dtype: of the activations.
    """

    features: int
    strides: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[n, h, w, c] to [n, h / strides, w / strides, features]."""
        make = functools.partial(
            layers.conv, kernel_init=layers.HE_FAN_OUT, dtype=self.dtype
        )
        norm = functools.partial(layers.batch_norm, train, self.dtype)
        y = make(self.features, 3, self.strides, name="conv1")(x)
        y = nn.relu(norm("norm1")(y))
        y = norm("norm2")(make(self.features, 3, name="conv2")(y))
        x = x[:, :: self.strides, :: self.strides]
        channels = (0, self.features - x.shape[-1])
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), channels))
        return nn.relu(layers.site(self, x + y))


class CifarResNet(layers.ImageClassifier):
    """A residual network of 6 n + 2 layers.

    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2016),
    section 4.2: a 3x3 convolution, three stages of n blocks with 1, 2 and 4 times
    `width` channels, the average; shortcuts have no parameters (option A). Kernels
    start from N(0, 2/fan_out), that of the head from N(0, 2/fan_in). The taps are the
    stages' outputs.

    Attributes:
      depth: number of layers, 6 n + 2.
      width: channels of the stem and of the first stage; the source's 16. The wider
        networks of Jeddi et al., "Learn2Perturb" (2020), have 24, 32 and 64.
      projection: where the shape changes, the shortcut is a 1x1 convolution and its
        normalization (option B).

    Raises:
      UsageError: `depth` is not 8, 14, 20, 26, …
    """

    depth: int = specs.static(20, minimum=8)
    width: int = specs.static(16, minimum=1)
    projection: bool = specs.static(False)

    def __post_init__(self):
        super().__post_init__()
        if (self.depth - 2) % 6:
            raise specs.UsageError(
                f"{type(self).__name__}.depth is {self.depth}; it must be 6 n + 2, "
                "such as 8, 20, 32, 44 or 56"
            )

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        make = {"kernel_init": layers.HE_FAN_OUT, "dtype": self.dtype}
        x = layers.conv(self.width, 3, name="stem", **make)(images)
        x = layers.batch_norm(train, self.dtype, "stem_norm")(x)
        x = nn.relu(layers.site(self, x))
        for stage in (1, 2, 3):
            for block in range(1, (self.depth - 2) // 6 + 1):
                features = self.width * 2 ** (stage - 1)
                strides = 2 if stage > 1 and block == 1 else 1
                name = f"stage{stage}_block{block}"
                x = self._block(features, strides, name)(x, train)
            self.tap(x)
        head = nn.Dense(
            self.num_classes, kernel_init=nn.initializers.he_normal(), name="head"
        )
        return head(layers.global_mean(x))

    def _block(self, features, strides, name):
        if not self.projection:
            return PlainBlock(features, strides, self.dtype, name=name)
        init = layers.HE_FAN_OUT
        block = resnet.ResidualBlock
        return block(features, strides, False, init, self.dtype, name=name)


class ResNet20(CifarResNet):
    """ResNet-20: 269,722 parameters for 10 classes."""


class ResNet32(CifarResNet):
    """ResNet-32: 464,154 parameters for 10 classes."""

    depth: int = specs.static(32, minimum=8)


class ResNet44(CifarResNet):
    """ResNet-44: 658,586 parameters for 10 classes."""

    depth: int = specs.static(44, minimum=8)


class ResNet56(CifarResNet):
    """ResNet-56: 853,018 parameters for 10 classes."""

    depth: int = specs.static(56, minimum=8)


class ResNet110(CifarResNet):
    """ResNet-110 with projections: 1,730,714 parameters for 10 classes.

    The network for CIFAR-10 of Cohen, Rosenfeld and Kolter, "Certified Adversarial
    Robustness via Randomized Smoothing" (2019), section 4, in its public code.
    """

    depth: int = specs.static(110, minimum=8)
    projection: bool = specs.static(True)
