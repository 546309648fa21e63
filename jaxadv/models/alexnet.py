"""AlexNet for ImageNet and for CIFAR, the networks of the LPIPS distance.

Convolutions are padded and pooled as in PyTorch, so that weights trained there fit.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxadv import specs
from jaxadv.models import layers


def uniform_bias(fan_in: int) -> Any:
    """PyTorch's default initializer of a bias: uniform within 1/sqrt(fan_in)."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return init


def adaptive_mean(x: jax.Array, side: int) -> jax.Array:
    """Averages [n, h, w, c] over a `side` x `side` grid of windows, in float32.

    Window i covers the pixels floor(i h / side) to ceil((i + 1) h / side), as
    PyTorch's `AdaptiveAvgPool2d`: windows overlap where h is no multiple of `side`,
    and repeat pixels where h is smaller.
    """
    rows, columns = (jnp.asarray(_windows(size, side)) for size in x.shape[1:3])
    x = x.astype(jnp.float32)
    if rows.shape[1] != side:
        x = jnp.einsum("ih,nhwc->niwc", rows, x, precision=lax.Precision.HIGHEST)
    if columns.shape[1] != side:
        x = jnp.einsum("jw,niwc->nijc", columns, x, precision=lax.Precision.HIGHEST)
    return x


def _windows(size, side):
    weights = np.zeros((side, size), np.float32)
    for i in range(side):
        start, stop = i * size // side, -(-(i + 1) * size // side)
        weights[i, start:stop] = 1 / (stop - start)
    return weights


def check_side(module: nn.Module, images: jax.Array, minimum: int) -> None:
    """Checks that the convolutions leave at least one pixel.

    Raises:
      UsageError: the images are smaller than `minimum` pixels on a side.
    """
    height, width = images.shape[1:3]
    if min(height, width) < minimum:
        raise specs.UsageError(
            f"{type(module).__name__} got images of {height}x{width} pixels; it needs "
            f"at least {minimum}x{minimum}; scale them up, or take another network "
            "such as 'cifar_alexnet'"
        )


class AlexNet(layers.ImageClassifier):
    """AlexNet in one column: 61,100,840 parameters for 1000 classes.

    Krizhevsky, "One Weird Trick for Parallelizing Convolutional Neural Networks"
    (2014), in the layout of torchvision. The taps are the five convolutions'
    outputs after their ReLU. The last maps are averaged over a 6x6 grid, so any
    images of at least 63x63 pixels fit (31x31 for the trunk alone). Dropout of 0.5
    precedes the two hidden dense layers (rng "dropout").

    Attributes:
      trunk: leave the dense layers out; the logits are then zeros. Enough for a
        distance, with a twenty-fifth of the weights.
      width: channels of the first convolution; the others scale with it.
      hidden: units of the two hidden dense layers.

    Raises:
      UsageError: a field is out of bounds, or the images are too small.
    """

    trunk: bool = False
    width: int = specs.static(64, minimum=1)
    hidden: int = specs.static(4096, minimum=1)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        check_side(self, images, 31 if self.trunk else 63)
        x = self.tap(self._conv(images, 1, 11, strides=4, padding=2))
        x = self.tap(self._conv(layers.max_pool(x, 3, 2), 2, 5))
        x = self._last_convolutions(layers.max_pool(x, 3, 2))
        if self.trunk:
            return jnp.zeros((len(images), self.num_classes))
        return self._head(adaptive_mean(layers.max_pool(x, 3, 2), 6), train)

    def _conv(self, x, index, kernel=3, strides=1, padding=None):
        return nn.relu(self._linear(x, index, kernel, strides, padding))

    def _linear(self, x, index, kernel=3, strides=1, padding=None):
        # 64, 192, 384, 256 and 256 channels at the standard width of 64.
        features = self.width * (1, 3, 6, 4, 4)[index - 1]
        return nn.Conv(
            features,
            (kernel, kernel),
            strides,
            padding=kernel // 2 if padding is None else padding,
            kernel_init=layers.TORCH_KERNEL,
            bias_init=uniform_bias(kernel * kernel * x.shape[-1]),
            dtype=self.dtype,
            name=f"conv{index}",
        )(x)

    def _last_convolutions(self, x):
        for index in (3, 4, 5):
            x = self.tap(self._conv(x, index))
        return x

    def _head(self, x, train):
        x = x.reshape(len(x), -1)
        for name in ("dense1", "dense2"):
            x = nn.Dropout(0.5, deterministic=not train)(x)
            x = nn.Dense(
                self.hidden,
                kernel_init=layers.TORCH_KERNEL,
                bias_init=uniform_bias(x.shape[-1]),
                dtype=self.dtype,
                name=name,
            )(x)
            x = nn.relu(x)
        return layers.torch_dense(self.num_classes, x.shape[-1])(x)


class CifarAlexNet(AlexNet):
    """AlexNet for 32x32 images: 23,272,266 parameters for 10 classes.

    The external network of Laidlaw, Singla and Feizi, "Perceptual Adversarial
    Robustness" (2021), on CIFAR-10: the first convolution is 3x3 of stride 2, the
    second 3x3, and windows of 2x2 are pooled. The five taps of a 32x32 image hold
    43,008 numbers. Images of at least 15x15 pixels fit; the dense layers are made
    for the size they are initialized with.

    Attributes:
      trunk: as in AlexNet.
      width: as in AlexNet.
      hidden: as in AlexNet.

    Raises:
      UsageError: a field is out of bounds, or the images are too small.
    """

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        check_side(self, images, 7 if self.trunk else 15)
        x = self.tap(self._conv(images, 1, strides=2))
        x = self.tap(self._conv(layers.max_pool(x, 2), 2))
        x = self._last_convolutions(layers.max_pool(x, 2))
        if self.trunk:
            return jnp.zeros((len(images), self.num_classes))
        return self._head(layers.max_pool(x, 2), train)
