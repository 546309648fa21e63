"""ConvNeXt, with its own stem or a convolutional one."""

from typing import Any

import jax
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import alexnet, layers, patches

STEMS = ("patch", "conv2", "conv3")


class ConvNeXtBlock(nn.Module):
    """A 7x7 convolution of each channel by itself, then two layers on the channels.

    Liu et al., "A ConvNet for the 2020s" (2022), figure 4. What is added to the
    input is scaled by a number for each channel, 1e-6 at first.

    Attributes:
      dtype: of the activations.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[n, h, w, c] to [n, h, w, c]."""
        channels = x.shape[-1]
        y = nn.Conv(
            channels,
            (7, 7),
            padding=3,
            feature_group_count=channels,
            kernel_init=patches.KERNEL,
            dtype=self.dtype,
            name="conv",
        )(x)
        y = patches.layer_norm(self.dtype, "norm")(y)
        y = patches.Mlp(self.dtype, name="mlp")(y)
        gamma = self.param("gamma", nn.initializers.constant(1e-6), (channels,))
        return x + gamma.astype(self.dtype) * y


class ConvNeXt(patches.PatchClassifier):
    """A ConvNeXt; the taps are its stages' outputs.

    Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, "A ConvNet for the 2020s" (2022),
    sections 2.2 to 2.6: a stem that divides the sides by 4, stages of blocks, a
    normalization and a 2x2 convolution of stride 2 between stages, the average, a
    normalization and the output. Its own stem is "patch", one 4x4 convolution and a
    normalization. That of Singh, Croce and Hein, "Revisiting Adversarial Training for
    ImageNet: Architectures, Training and Generalization across Threat Models" (2023),
    is "conv2", two 3x3 convolutions of stride 2 with a half and all of `width`
    channels, or "conv3", which has three quarters after the second and a third
    convolution of stride 1; see `patches.conv_stem`. The published networks take
    images of any size from 32x32 on; each stage less halves that. Kernels start from
    N(0, 0.02^2), cut at two deviations. `train` changes nothing: the stochastic depth
    that the papers train with is not here.

    Attributes:
      stage_sizes: number of blocks of each stage; each stage after the first halves
        the image and doubles the channels.
      width: channels of the first stage.
      stem: "patch", "conv2" or "conv3".

    Raises:
      UsageError: a field is out of bounds, or the images are too small.
    """

    stage_sizes: tuple[int, ...] = (3, 3, 9, 3)
    width: int = specs.static(96, minimum=1)
    stem: str = specs.static("patch", choices=STEMS)

    def __post_init__(self):
        super().__post_init__()
        layers.check_stage_sizes(self.stage_sizes)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        del train
        alexnet.check_side(self, images, 2 ** (len(self.stage_sizes) + 1))
        x, make = self._stem(images), self.block(ConvNeXtBlock)
        for stage, blocks in enumerate(self.stage_sizes, start=1):
            if stage > 1:
                x = patches.layer_norm(self.dtype, f"stage{stage}_norm")(x)
                x = patches.conv(
                    2 * x.shape[-1], 2, 2, self.dtype, f"stage{stage}_conv"
                )(x)
            for block in range(1, blocks + 1):
                x = make(self.dtype, name=f"stage{stage}_block{block}")(x)
            self.tap(x)
        x = layers.global_mean(x)
        return self.logits(patches.layer_norm(x.dtype, "final_norm")(x))

    def _stem(self, images):
        if self.stem == "patch":
            x = patches.conv(self.width, 4, 4, self.dtype, "stem")(images)
            return patches.layer_norm(self.dtype, "stem_norm")(x)
        half = self.width // 2
        plan = [(half, 2), (self.width, 2)]
        if self.stem == "conv3":
            plan = [(half, 2), (3 * half // 2, 2), (self.width, 1)]
        return patches.conv_stem(images, plan, self.dtype)


class ConvNeXtT(ConvNeXt):
    """ConvNeXt-T: 28,589,128 parameters for 1000 classes."""


class ConvNeXtS(ConvNeXt):
    """ConvNeXt-S: 50,223,688 parameters for 1000 classes."""

    stage_sizes: tuple[int, ...] = (3, 3, 27, 3)


class ConvNeXtB(ConvNeXtS):
    """ConvNeXt-B: 88,591,464 parameters for 1000 classes."""

    width: int = specs.static(128, minimum=1)


class ConvNeXtL(ConvNeXtS):
    """ConvNeXt-L: 197,767,336 parameters for 1000 classes."""

    width: int = specs.static(192, minimum=1)


class ConvNeXtTConvStem(ConvNeXtT):
    """ConvNeXt-T, convolutional stem: 28,627,432 parameters for 1000 classes."""

    stem: str = specs.static("conv2", choices=STEMS)


class ConvNeXtSConvStem(ConvNeXtS):
    """ConvNeXt-S, convolutional stem: 50,261,992 parameters for 1000 classes."""

    stem: str = specs.static("conv2", choices=STEMS)


class ConvNeXtBConvStem(ConvNeXtB):
    """ConvNeXt-B, convolutional stem: 88,753,416 parameters for 1000 classes."""

    stem: str = specs.static("conv3", choices=STEMS)


class ConvNeXtLConvStem(ConvNeXtL):
    """ConvNeXt-L, convolutional stem: 198,134,680 parameters for 1000 classes."""

    stem: str = specs.static("conv3", choices=STEMS)
