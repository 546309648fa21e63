"""The networks that the benchmarks attack, with random weights and images."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxadv.classifier import Classifier
from jaxadv.models import MODELS, layers


class SmallLeNet(layers.ImageClassifier):
    """Two 3x3 convolutions (16, 32 maps) and 64 units: 1.1 M multiply-adds a digit."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        del train
        x = images
        for maps in (16, 32):
            x = self.tap(nn.relu(layers.max_pool(nn.Conv(maps, (3, 3))(x), 2)))
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        return nn.Dense(self.num_classes)(x)


NETWORKS = {
    "LeNetV2, 28x28x1": ("lenet_v2", {}, (28, 28, 1)),
    "ResNet-18 width 16, 32x32x3": ("resnet18", {"width": 16}, (32, 32, 3)),
}
DENSE = {"MLP, 28x28x1": ("mlp", {}, (28, 28, 1))}
SMALL = {"LeNet of 16, 32 maps, 28x28x1": (SmallLeNet, {}, (28, 28, 1))}


def build(name: str, batch: int):
    """(classifier, images [b, h, w, c], labels [b]); labels are the predictions."""
    kind, fields, shape = (NETWORKS | DENSE | SMALL)[name]
    module = (MODELS[kind] if isinstance(kind, str) else kind)(**fields)
    key = jax.random.key(0, impl="rbg")
    variables = jax.jit(module.init)(key, jnp.zeros((1, *shape)))
    model = Classifier.from_linen(module, variables, mean=0.5, std=0.5)
    rng = np.random.default_rng(0)
    images = rng.random((batch, *shape), dtype=np.float32)
    labels = np.asarray(jax.jit(jax.vmap(model))(images)).argmax(-1)
    return model, images, labels.astype(np.int32)
