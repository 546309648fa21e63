"""The four small networks of the min-max attack paper's MNIST and CIFAR-10 tables.

Wang, Zhang, Liu, Chen, Xu, Fardad and Li, "Adversarial Attack Generation Empowered
by Min-Max Optimization" (2021), models A to D. Kernels start Glorot-uniform and
biases at zero. Convolutions are padded as "SAME" unless said otherwise.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv.models import layers

_GLOROT = nn.initializers.glorot_uniform()


def _dense(features, dtype, name):
    return nn.Dense(features, dtype=dtype, kernel_init=_GLOROT, name=name)


def _conv(features, kernel, dtype, name, strides=1, padding="SAME"):
    return nn.Conv(
        features,
        (kernel, kernel),
        strides,
        padding=padding,
        dtype=dtype,
        kernel_init=_GLOROT,
        name=name,
    )


class MLP(layers.ImageClassifier):
    """Model A: dense layers of 128, 128 and 64 units on the flattened image.

    The taps are the three hidden layers after their ReLU, as [n, 1, 1, units].
    """

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        del train
        x = images.reshape(len(images), -1)
        for i, units in enumerate((128, 128, 64), start=1):
            x = nn.relu(_dense(units, self.dtype, f"dense{i}")(x))
            self.tap(x[:, None, None])
        return _dense(self.num_classes, jnp.float32, "head")(x)


class AllCNN(layers.ImageClassifier):
    """Model B: nine convolutions, the last of them giving the logits' maps.

    After Springenberg, Dosovitskiy, Brox and Riedmiller, "Striving for Simplicity"
    (2015). The two 3x3 convolutions of stride 2 and the last one have no ReLU; the
    taps are the other six, after theirs. Dropout of 0.5 follows each 3x3 of stride
    2 (rng "dropout").
    """

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        conv = functools.partial(_conv, dtype=self.dtype)
        drop = nn.Dropout(0.5, deterministic=not train)
        x = self.tap(nn.relu(conv(32, 3, name="conv1")(images)))
        x = self.tap(nn.relu(conv(64, 3, name="conv2")(x)))
        x = drop(conv(128, 3, strides=2, name="conv3")(x))
        x = self.tap(nn.relu(conv(128, 3, name="conv4")(x)))
        x = self.tap(nn.relu(conv(128, 3, name="conv5")(x)))
        x = drop(conv(128, 3, strides=2, name="conv6")(x))
        x = self.tap(nn.relu(conv(128, 3, name="conv7")(x)))
        x = self.tap(nn.relu(conv(128, 1, name="conv8")(x)))
        x = _conv(self.num_classes, 1, jnp.float32, "head", strides=2)(x)
        return layers.global_mean(x)


def _pooled(x):
    """ReLU and 2x2 pooling, which commute, in the order that is cheaper."""
    return nn.relu(layers.max_pool(x, 2))


class LeNet(layers.ImageClassifier):
    """Model C: two unpadded 5x5 convolutions (6, 16 maps), dense layers of 120, 84.

    After LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to
    Document Recognition" (1998). The taps are the two convolutions' outputs after
    ReLU and 2x2 pooling.
    """

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]; h, w >= 16."""
        del train
        conv = functools.partial(_conv, dtype=self.dtype, padding="VALID")
        x = self.tap(_pooled(conv(6, 5, name="conv1")(images)))
        x = self.tap(_pooled(conv(16, 5, name="conv2")(x)))
        x = x.reshape(len(x), -1)
        x = nn.relu(_dense(120, self.dtype, "dense1")(x))
        x = nn.relu(_dense(84, self.dtype, "dense2")(x))
        return _dense(self.num_classes, jnp.float32, "head")(x)


class LeNetV2(layers.ImageClassifier):
    """Model D: two 3x3 convolutions (32, 64 maps) and a dense layer of 128 units.

    The taps are the two convolutions' outputs after ReLU and 2x2 pooling. Dropout
    of 0.25 follows the dense layer (rng "dropout").
    """

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        x = self.tap(_pooled(_conv(32, 3, self.dtype, "conv1")(images)))
        x = self.tap(_pooled(_conv(64, 3, self.dtype, "conv2")(x)))
        x = nn.relu(_dense(128, self.dtype, "dense1")(x.reshape(len(x), -1)))
        x = nn.Dropout(0.25, deterministic=not train)(x)
        return _dense(self.num_classes, jnp.float32, "head")(x)
