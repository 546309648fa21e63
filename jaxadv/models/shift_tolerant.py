"""AlexNet and VGG-16 in the form of the shift-tolerant perceptual distance.

Wherever the original networks skip pixels, these blur before they do.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv.models import alexnet, layers, vgg
from jaxadv.models.blur import blur_pool


def max_blur_pool(x: jax.Array, window: int) -> jax.Array:
    """Largest values of windows at stride 1, blurred and subsampled by 2.

    [n, h, w, c] to [n, h', w', c], h' = (h - window + 2) // 2 + 1. Zhang, "Making
    Convolutional Networks Shift-Invariant Again" (2019), figure 3.

    Raises:
      UsageError: the maps are too small; see `blur.blur_pool`.
    """
    return blur_pool(layers.max_pool(x, window, 1))


class ShiftTolerantAlexNet(alexnet.AlexNet):
    """AlexNet with blurred downsampling: 61,100,840 parameters for 1000 classes.

    Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric" (2022), in the
    layout of their package stlpips_pytorch, whose trunk has 2,469,696 parameters. The
    first convolution has stride 1, and its blur by stride 2 comes before its ReLU;
    maxima of 3x3 windows are taken at stride 1 and blurred by stride 2. The taps are
    the five convolutions' outputs after their ReLU, at halves, quarters and eighths of
    the image. The dense layers, which their file does not have, are those of AlexNet.
    Images of at least 37x37 pixels fit (21x21 for the trunk alone).

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
        alexnet.check_side(self, images, 21 if self.trunk else 37)
        x = self._linear(images, 1, 11, padding=2)
        x = self.tap(nn.relu(blur_pool(x)))
        x = self.tap(self._conv(max_blur_pool(x, 3), 2, 5))
        x = self._last_convolutions(max_blur_pool(x, 3))
        if self.trunk:
            return jnp.zeros((len(images), self.num_classes))
        return self._head(alexnet.adaptive_mean(max_blur_pool(x, 3), 6), train)


class ShiftTolerantVGG16(vgg.VGG16):
    """VGG-16 with blurred downsampling: 138,357,544 parameters for 1000 classes.

    Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric" (2022), in the
    layout of their package stlpips_pytorch, whose trunk has 14,714,688 parameters.
    Maxima of 2x2 windows are taken at stride 1 and blurred by stride 2. Taps and
    initial weights are those of VGG16, and so are the dense layers, which their file
    does not have. Images of at least 34x34 pixels fit (18x18 for the trunk alone).

    Attributes:
      trunk: as in VGG16.
      width: as in VGG16.
      hidden: as in VGG16.

    Raises:
      UsageError: a field is out of bounds, or the images are too small.
    """

    sides = (34, 18)

    def _pool(self, x):
        return max_blur_pool(x, 2)
