"""A network and images so small that training them takes no time."""

import numpy as np
from flax import linen as nn

from jaxadv.data import sources

SHAPE, CLASSES = (4, 4, 1), 3


class Small(nn.Module):
    num_classes: int = CLASSES
    norm: bool = False
    dropout: float = 0.0
    width: int = 6
    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, images, train=False):
        images = images.reshape(len(images), -1).astype(self.compute_dtype)
        x = nn.Dense(self.width, dtype=self.compute_dtype)(images)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.tanh(x))
        return nn.Dense(self.num_classes)(x)


def small_source(n, seed=0, split="train"):
    """Images whose label is where they are bright: a network learns it at once."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    images = rng.random((n, *SHAPE), np.float32) * 0.4
    images[np.arange(n), labels] += 0.5
    return sources.from_arrays(images, labels, name="small", split=split)
