"""VGG-16, a network of the LPIPS distance, and its form for CIFAR."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import alexnet, layers

STAGES = (2, 2, 3, 3, 3)
"""Convolutions before each pooling: configuration D."""


class VGG16(layers.ImageClassifier):
    """VGG-16 without normalization: 138,357,544 parameters for 1000 classes.

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition" (2015), table 1, configuration D, in the layout of torchvision. The
    taps are the outputs of the last convolution of each stage after its ReLU, just
    before the five poolings. The last maps are averaged over a 7x7 grid, so any
    images of at least 32x32 pixels fit (16x16 for the trunk alone). Dropout of 0.5
    follows the two hidden dense layers (rng "dropout"). Convolutions start from
    N(0, 2/fan_out), dense layers from N(0, 0.01^2), biases at zero.

    Attributes:
      trunk: leave the dense layers out; the logits are then zeros. Enough for a
        distance, with a ninth of the weights.
      width: channels of the first stage; the later ones have 2, 4, 8 and 8 times as
        many.
      hidden: units of the two hidden dense layers.

    Raises:
      UsageError: a field is out of bounds, or the images are too small.
    """

    trunk: bool = False
    width: int = specs.static(64, minimum=1)
    hidden: int = specs.static(4096, minimum=1)
    # Pixels of the smallest image, and of the smallest one for the trunk alone.
    sides: ClassVar[tuple[int, int]] = (32, 16)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        alexnet.check_side(self, images, self.sides[self.trunk])
        x = images
        for stage, convolutions in enumerate(STAGES, start=1):
            x = x if stage == 1 else self._pool(x)
            for index in range(1, convolutions + 1):
                x = nn.Conv(
                    self.width * min(2 ** (stage - 1), 8),
                    (3, 3),
                    padding=1,
                    kernel_init=layers.HE_FAN_OUT,
                    dtype=self.dtype,
                    name=f"conv{stage}_{index}",
                )(x)
                x = nn.relu(x)
            self.tap(x)
        if self.trunk:
            return jnp.zeros((len(images), self.num_classes))
        return self._head(alexnet.adaptive_mean(self._pool(x), 7), train)

    def _pool(self, x):
        return layers.max_pool(x, 2)

    def _head(self, x, train):
        x = x.reshape(len(x), -1)
        kernel_init = nn.initializers.normal(0.01)
        for name in ("dense1", "dense2"):
            x = nn.relu(
                nn.Dense(
                    self.hidden, kernel_init=kernel_init, dtype=self.dtype, name=name
                )(x)
            )
            x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(self.num_classes, kernel_init=kernel_init, name="head")(x)


class CifarVGG16(layers.ImageClassifier):
    """VGG-16 for 32x32 images: 14,728,266 parameters for 10 classes.

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition" (2015), configuration D, with a batch normalization between each
    convolution and its ReLU and one dense layer on the 512 numbers that five
    poolings leave, as PyTorch users train it on CIFAR-10: model E of Wang et al.,
    "Adversarial Attack Generation Empowered by Min-Max Optimization" (2021). The taps
    are those of VGG16. Images of at least 32x32 pixels fit; the dense layer is made
    for the size it is initialized with.

    Attributes:
      width: as in VGG16.

    Raises:
      UsageError: a field is out of bounds, or the images are too small.
    """

    width: int = specs.static(64, minimum=1)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        alexnet.check_side(self, images, 32)
        x = images
        for stage, convolutions in enumerate(STAGES, start=1):
            for index in range(1, convolutions + 1):
                x = nn.Conv(
                    self.width * min(2 ** (stage - 1), 8),
                    (3, 3),
                    padding=1,
                    kernel_init=layers.TORCH_KERNEL,
                    bias_init=alexnet.uniform_bias(9 * x.shape[-1]),
                    dtype=self.dtype,
                    name=f"conv{stage}_{index}",
                )(x)
                norm = layers.batch_norm(train, self.dtype, f"norm{stage}_{index}")
                x = nn.relu(norm(x))
            x = layers.max_pool(self.tap(x), 2)
        x = x.reshape(len(x), -1).astype(jnp.float32)
        return layers.torch_dense(self.num_classes, x.shape[-1])(x)
