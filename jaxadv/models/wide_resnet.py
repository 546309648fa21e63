"""Wide residual networks for images of CIFAR's size."""

import jax
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import layers


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

    Raises:
      UsageError: `depth` is not 10, 16, 22, 28, ...
    """

    depth: int = specs.static(28, minimum=10)
    widen_factor: int = specs.static(10, minimum=1)

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
        x = layers.conv(16, 3, name="stem", **make)(images)
        for stage in (1, 2, 3):
            for block in range(1, (self.depth - 4) // 6 + 1):
                features = 8 * 2**stage * self.widen_factor
                strides = 2 if stage > 1 and block == 1 else 1
                name = f"stage{stage}_block{block}"
                x = layers.PreActBlock(features, strides, name=name, **make)(x, train)
            self.tap(x)
        x = nn.relu(layers.batch_norm(train, self.dtype, "final_norm")(x))
        head = layers.torch_dense(self.num_classes, x.shape[-1], zero_bias=True)
        return head(layers.global_mean(x))


class WRN28x10(WideResNet):
    """WRN-28-10: 36,479,194 parameters for 10 classes."""


class WRN34x10(WideResNet):
    """WRN-34-10, as in TRADES: 46,160,474 parameters for 10 classes."""

    depth: int = specs.static(34, minimum=10)
