"""GoogLeNet for images of CIFAR's size."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import alexnet, layers

# Channels of the 1x1, of the 3x3 and what reduces for it, of the 5x5 and what reduces
# for it, and after the pooling; "pool" halves the image.
PLAN = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    "pool",
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    "pool",
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


class Inception(nn.Module):
    """Four branches on one input, side by side: 1x1, 3x3, 5x5 and max-pooling.

    Szegedy et al., "Going Deeper with Convolutions" (2015), figure 2b; the 5x5 is two
    3x3 of the same reach. Each convolution is normalized before its ReLU.

    Attributes:
      channels: as in `PLAN`.
      dtype: of the activations.
    """

    channels: tuple[int, ...]
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[n, h, w, c] to [n, h, w, channels of the four branches]."""

        def conv(x, features, kernel, name):
            return _conv(x, features, kernel, name, self.dtype, train)

        one, reduce3, three, reduce5, five, pool = self.channels
        a = conv(x, one, 1, "one")
        b = conv(conv(x, reduce3, 1, "three_reduce"), three, 3, "three")
        c = conv(conv(x, reduce5, 1, "five_reduce"), five, 3, "five1")
        c = conv(c, five, 3, "five2")
        d = conv(layers.max_pool(x, 3, 1, padding=1), pool, 1, "pool")
        return jnp.concatenate([a, b, c, d], axis=-1)


class GoogLeNet(layers.ImageClassifier):
    """GoogLeNet for 32x32 images: 6,166,250 parameters for 10 classes.

    Szegedy et al., "Going Deeper with Convolutions" (2015), table 1 from module 3a on,
    after one 3x3 convolution of 192 channels in place of the stem, as PyTorch users
    train it on CIFAR-10; the average over all pixels precedes the output. Without
    dropout and auxiliary classifiers. Model H of Wang et al., "Adversarial Attack
    Generation Empowered by Min-Max Optimization" (2021). The taps are the outputs of
    modules 3b, 4e and 5b, before the poolings.

    Attributes:
      divisor: of all channels but the logits, for smaller networks of the same kind.

    Raises:
      UsageError: a field is out of bounds.
    """

    divisor: int = specs.static(1, minimum=1, maximum=16)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]; h, w >= 4."""
        alexnet.check_side(self, images, 4)
        x = _conv(images, 192 // self.divisor, 3, "stem", self.dtype, train)
        index = 0
        for entry in PLAN:
            if entry == "pool":
                x = layers.max_pool(self.tap(x), 3, 2, padding=1)
                continue
            channels, index = tuple(n // self.divisor for n in entry), index + 1
            x = Inception(channels, self.dtype, name=f"inception{index}")(x, train)
        self.tap(x)
        return layers.torch_dense(self.num_classes, x.shape[-1])(layers.global_mean(x))


def _conv(x, features, kernel, name, dtype, train):
    x = nn.Conv(
        features,
        (kernel, kernel),
        padding=kernel // 2,
        kernel_init=layers.TORCH_KERNEL,
        bias_init=alexnet.uniform_bias(kernel * kernel * x.shape[-1]),
        dtype=dtype,
        name=name,
    )(x)
    return nn.relu(layers.batch_norm(train, dtype, f"{name}_norm")(x))
