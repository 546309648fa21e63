"""The networks that the benchmarks attack, with random weights and images."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.classifier import Classifier
from jaxadv.models import MODELS

NETWORKS = {
    "LeNetV2, 28x28x1": ("lenet_v2", {}, (28, 28, 1)),
    "ResNet-18 width 16, 32x32x3": ("resnet18", {"width": 16}, (32, 32, 3)),
}
DENSE = {"MLP, 28x28x1": ("mlp", {}, (28, 28, 1))}


def build(name: str, batch: int):
    """(classifier, images [b, h, w, c], labels [b]); labels are the predictions."""
    model_name, fields, shape = (NETWORKS | DENSE)[name]
    module = MODELS[model_name](**fields)
    key = jax.random.key(0, impl="rbg")
    variables = jax.jit(module.init)(key, jnp.zeros((1, *shape)))
    model = Classifier.from_linen(module, variables, mean=0.5, std=0.5)
    rng = np.random.default_rng(0)
    images = rng.random((batch, *shape), dtype=np.float32)
    labels = np.asarray(jax.jit(jax.vmap(model))(images)).argmax(-1)
    return model, images, labels.astype(np.int32)
