"""Pre-activation residual networks with a CIFAR stem, and the block they are made of.

He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks" (2016). Smaller
networks of the same kind come from `width` and `stage_sizes`.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import layers

SHORTCUTS = ("active", "input", "input_3x3")


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each after its normalization and activation.

    He et al. (2016), figure 1b. Where the shape changes, the shortcut is a convolution:
    "active" is one of 1x1 on the normalized and activated input, as in their code and
    in wide residual networks; "input" one of 1x1, and "input_3x3" one of 3x3, on the
    input as it is.

    Attributes:
      features: output channels.
      strides: of the first convolution and the shortcut.
      kernel_init: initializer of the kernels.
      dtype: of the activations.
      shortcut: one of `SHORTCUTS`.
      activation: one of `layers.ACTIVATIONS`.
      padding: one of `layers.PADDINGS`.
    """

    features: int
    strides: int
    kernel_init: Any
    dtype: Any
    shortcut: str = "active"
    activation: str = "relu"
    padding: str = "both"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[n, h, w, c] to [n, h / strides, w / strides, features]."""
        make = functools.partial(
            layers.conv,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            padding=self.padding,
        )
        norm = functools.partial(layers.batch_norm, train, self.dtype)
        activate = layers.ACTIVATIONS[self.activation]
        active = activate(norm("norm1")(x))
        y = make(self.features, 3, self.strides, name="conv1")(active)
        y = activate(norm("norm2")(y))
        y = make(self.features, 3, name="conv2")(y)
        if self.strides != 1 or x.shape[-1] != self.features:
            kernel = 3 if self.shortcut == "input_3x3" else 1
            x = active if self.shortcut == "active" else x
            x = make(self.features, kernel, self.strides, name="shortcut")(x)
        return layers.site(self, x + y)


class PreActResNet18(layers.ImageClassifier):
    """Pre-activation ResNet-18 for CIFAR: 11,172,170 parameters for 10 classes.

    The form of Rice, Wong and Kolter, "Overfitting in Adversarially Robust Deep
    Learning" (2020): one 3x3 convolution as stem, and a normalization and ReLU before
    the average. Kernels start as PyTorch's default. The taps are the stages' outputs
    before those.

    Attributes:
      stage_sizes: number of blocks of each stage; each stage after the first halves
        the image and doubles the channels.
      width: channels of the stem and of the first stage.
      final_norm: normalize and activate before the average. kuangliu's model of
        CIFAR-10 does not: 11,171,146 parameters.
      shortcut: "active", "input" or "input_3x3"; see `PreActBlock`.
      activation: "relu" or "silu".
      padding: "both" or "far"; see `layers.conv`.

    Raises:
      UsageError: a field is out of bounds.
    """

    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    width: int = specs.static(64, minimum=1)
    final_norm: bool = specs.static(True)
    shortcut: str = specs.static("active", choices=SHORTCUTS)
    activation: str = specs.static("relu", choices=tuple(layers.ACTIVATIONS))
    padding: str = specs.static("both", choices=layers.PADDINGS)

    def __post_init__(self):
        super().__post_init__()
        layers.check_stage_sizes(self.stage_sizes)

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        make = {"kernel_init": layers.TORCH_KERNEL, "dtype": self.dtype}
        forms: dict[str, Any] = {
            "shortcut": self.shortcut,
            "activation": self.activation,
            "padding": self.padding,
        }
        x = layers.conv(self.width, 3, name="stem", **make)(images)
        for stage, blocks in enumerate(self.stage_sizes, start=1):
            for block in range(1, blocks + 1):
                features = self.width * 2 ** (stage - 1)
                strides = 2 if stage > 1 and block == 1 else 1
                name = f"stage{stage}_block{block}"
                x = PreActBlock(features, strides, **make, **forms, name=name)(x, train)
            self.tap(x)
        if self.final_norm:
            activate = layers.ACTIVATIONS[self.activation]
            x = activate(layers.batch_norm(train, self.dtype, "final_norm")(x))
        return layers.torch_dense(self.num_classes, x.shape[-1])(layers.global_mean(x))


class PreActResNet18Fast(PreActResNet18):
    """PreActResNet-18 with shortcuts of the input: 11,172,170 parameters.

    The form of the code of Wong, Rice and Kolter, "Fast is better than free: Revisiting
    adversarial training" (2020), and of Andriushchenko and Flammarion, "Understanding
    and Improving Fast Adversarial Training" (2020): where the shape changes, the
    shortcut convolves the input before its normalization.
    """

    shortcut: str = specs.static("input", choices=SHORTCUTS)


class PreActResNet18Dm(PreActResNet18):
    """DeepMind's PreActResNet-18 for CIFAR: 12,548,426 parameters for 10 classes.

    Gowal, Qin, Uesato, Mann and Kohli, "Uncovering the Limits of Adversarial Training
    against Norm-Bounded Adversarial Examples" (2020), in its public code: SiLU, 3x3
    shortcuts of the input, and zeros on the far side at stride 2. Networks of Rebuffi
    et al. (2021), Gowal et al. (2021) and Rade and Moosavi-Dezfooli (2021) have it.
    """

    shortcut: str = specs.static("input_3x3", choices=SHORTCUTS)
    activation: str = specs.static("silu", choices=tuple(layers.ACTIVATIONS))
    padding: str = specs.static("far", choices=layers.PADDINGS)
