"""Residual networks with a CIFAR or an ImageNet stem.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2016), table
1. Convolutions are padded explicitly and normalized as in PyTorch, so that weights
trained there fit. Smaller networks of the same kind come from `width` and
`stage_sizes`.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import layers

STEMS = ("cifar", "imagenet", "imagenet_3x3")


class ResidualBlock(nn.Module):
    """A residual block whose final ReLU comes after the sum.

    He et al. (2016), figure 5: two 3x3 convolutions, or, as a bottleneck, 1x1, 3x3
    and 1x1 with four times as many output channels. The stride is on the first 3x3.

    Attributes:
      features: channels of the 3x3 convolutions, but for `widen_factor`.
      strides: by how much the block shrinks its input.
      bottleneck: which of the two forms.
      kernel_init: initializer of the kernels.
      dtype: of the activations.
      widen_factor: of the 3x3 convolution of a bottleneck alone.
    """

    features: int
    strides: int
    bottleneck: bool
    kernel_init: Any
    dtype: Any
    widen_factor: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[n, h, w, c] to [n, h / strides, w / strides, features (x 4)]."""
        conv = functools.partial(
            layers.conv, kernel_init=self.kernel_init, dtype=self.dtype
        )
        norm = functools.partial(layers.batch_norm, train, self.dtype)
        width, strides = self.features, self.strides
        if self.bottleneck:
            inner = self.widen_factor * width
            plan = ((inner, 1, 1), (inner, 3, strides), (4 * width, 1, 1))
        else:
            plan = ((width, 3, strides), (width, 3, 1))
        y = x
        for i, (features, kernel, stride) in enumerate(plan, start=1):
            y = y if i == 1 else nn.relu(y)
            y = conv(features, kernel, stride, name=f"conv{i}")(y)
            y = norm(f"norm{i}")(y)
        if strides != 1 or x.shape[-1] != y.shape[-1]:
            x = conv(y.shape[-1], 1, strides, name="shortcut")(x)
            x = norm("shortcut_norm")(x)
        return nn.relu(layers.site(self, x + y))


class ResNet(layers.ImageClassifier):
    """A residual network; the taps are its stages' outputs, after their last ReLU.

    The CIFAR stem is one 3x3 convolution, and kernels start as PyTorch's default;
    the ImageNet stem is a 7x7 convolution of stride 2 with a 3x3 max-pooling of
    stride 2, and kernels start from N(0, 2/fan_out). "imagenet_3x3" has a convolution
    of 3x3 and stride 1 in its place and is else the same, for images of 32x32 and
    weights of ImageNet (Tong et al., "Towards robustness against unsuspicious
    adversarial examples", footnote 2).

    Attributes:
      stage_sizes: number of blocks of each stage; each stage after the first halves
        the image and doubles the channels.
      bottleneck: three-convolution blocks with four times as many output channels.
      stem: "cifar", "imagenet" or "imagenet_3x3".
      width: channels of the stem and of the first stage's 3x3 convolutions.
      widen_factor: of the 3x3 convolutions of bottlenecks; the blocks' outputs stay.

    Raises:
      UsageError: a field is out of bounds, or blocks without bottleneck are widened.
    """

    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    stem: str = specs.static("cifar", choices=STEMS)
    width: int = specs.static(64, minimum=1)
    widen_factor: int = specs.static(1, minimum=1)

    def __post_init__(self):
        super().__post_init__()
        layers.check_stage_sizes(self.stage_sizes)
        if self.widen_factor > 1 and not self.bottleneck:
            raise specs.UsageError(
                f"{type(self).__name__}.widen_factor is {self.widen_factor}; it is for "
                "bottlenecks: set bottleneck, or make the network wider by width"
            )

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        init = layers.TORCH_KERNEL if self.stem == "cifar" else layers.HE_FAN_OUT
        x = self._stem(images, train, init)
        for stage, blocks in enumerate(self.stage_sizes, start=1):
            for block in range(1, blocks + 1):
                x = ResidualBlock(
                    features=self.width * 2 ** (stage - 1),
                    strides=2 if stage > 1 and block == 1 else 1,
                    bottleneck=self.bottleneck,
                    widen_factor=self.widen_factor,
                    kernel_init=init,
                    dtype=self.dtype,
                    name=f"stage{stage}_block{block}",
                )(x, train)
            self.tap(x)
        return layers.torch_dense(self.num_classes, x.shape[-1])(layers.global_mean(x))

    def _stem(self, images, train, init):
        conv = functools.partial(
            layers.conv, kernel_init=init, dtype=self.dtype, name="stem"
        )
        norm = layers.batch_norm(train, self.dtype, "stem_norm")
        if self.stem == "cifar":
            return nn.relu(layers.site(self, norm(conv(self.width, 3)(images))))
        kernel, strides = (7, 2) if self.stem == "imagenet" else (3, 1)
        # Pooling before the ReLU gives the same and is cheaper.
        x = layers.site(self, norm(conv(self.width, kernel, strides)(images)))
        return nn.relu(layers.max_pool(x, 3, strides=2, padding=1))


class ResNet18(ResNet):
    """ResNet-18, CIFAR stem: 11,173,962 parameters for 10 classes."""


class ResNet34(ResNet):
    """ResNet-34, CIFAR stem: 21,282,122 parameters for 10 classes."""

    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)


class ResNet50(ResNet):
    """ResNet-50, CIFAR stem: 23,520,842 parameters for 10 classes."""

    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True


class ResNet18ImageNet(ResNet18):
    """ResNet-18, ImageNet stem: 11,227,812 parameters for 100 classes."""

    stem: str = specs.static("imagenet", choices=STEMS)


class ResNet34ImageNet(ResNet34):
    """ResNet-34, ImageNet stem: 21,335,972 parameters for 100 classes."""

    stem: str = specs.static("imagenet", choices=STEMS)


class ResNet50ImageNet(ResNet50):
    """ResNet-50, ImageNet stem: 23,712,932 parameters for 100 classes."""

    stem: str = specs.static("imagenet", choices=STEMS)


class WideResNet50x2(ResNet50ImageNet):
    """Wide ResNet-50-2, ImageNet stem: 68,883,240 parameters for 1000 classes.

    WRN-50-2-bottleneck of Zagoruyko and Komodakis, "Wide Residual Networks" (2016), in
    the layout of torchvision.
    """

    widen_factor: int = specs.static(2, minimum=1)
