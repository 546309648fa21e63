"""Tiny classifiers that tests share; each is one function object, compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxadv.classifier import Classifier
from jaxadv.models import MODELS

SHAPE = (8, 8, 1)
CLASSES = 4


def _linear(variables, image, key):
    return variables["w"] @ image.reshape(-1) + variables["b"]


def _taps(variables, image, key):
    """Two taps, one of them dead where the image is black."""
    return jnp.concatenate([image, 1 - image], axis=-1), image


def linear(shape=SHAPE, classes=CLASSES, seed=0) -> Classifier:
    """logits = w x + b with Gaussian weights."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    w = rng.normal(size=(classes, size)).astype(np.float32)
    b = rng.normal(size=classes).astype(np.float32)
    variables = {"w": jnp.array(w), "b": jnp.array(b)}
    return Classifier.from_function(_linear, variables, features=_taps)


def _dense(variables, image, key):
    hidden = jax.nn.relu(variables["w0"] @ image.reshape(-1) + variables["b0"])
    return variables["w1"] @ hidden


def dense(shape=SHAPE, classes=CLASSES, seed=0) -> Classifier:
    """A random perceptron of 32 units."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    shapes = {"w0": (32, size), "b0": (32,), "w1": (classes, 32)}
    variables = {
        name: jnp.array(rng.normal(size=s) / s[-1] ** 0.5, jnp.float32)
        for name, s in shapes.items()
    }
    return Classifier.from_function(_dense, variables)


class ConvNet(nn.Module):
    """Two convolutions and a batch norm, width 4."""

    classes: int = CLASSES

    @nn.compact
    def __call__(self, images, train: bool = False):
        x = nn.relu(nn.Conv(4, (3, 3))(images))
        x = nn.BatchNorm(use_running_average=not train)(x)
        self.sow("features", "taps", x)
        x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
        return nn.Dense(self.classes)(x.reshape(x.shape[0], -1))


def conv(shape=SHAPE, classes=CLASSES, seed=0) -> Classifier:
    """A small random network with batch statistics that are not the defaults."""
    module = ConvNet(classes)
    variables = module.init(jax.random.key(seed), jnp.zeros((1, *shape)))
    stats = jax.tree.map(lambda x: x + 0.3, variables["batch_stats"])
    params = variables["params"]
    return Classifier.from_linen(
        module, {"params": params, "batch_stats": stats}, mean=0.4, std=0.3
    )


def half(seed=0) -> Classifier:
    """A perceptron that computes in bfloat16."""
    module = MODELS["mlp"](num_classes=CLASSES, compute_dtype="bfloat16")
    variables = module.init(jax.random.key(seed), jnp.zeros((1, *SHAPE)))
    return Classifier.from_linen(module, variables, mean=0.4, std=0.3)


SICK = ("constant", "huge", "nan", "random")


def _sick(variables, image, key):
    logits = _linear(variables, image, key)
    kinds = jnp.stack(
        [jnp.zeros_like(logits), 1e38 * jnp.tanh(logits), jnp.nan * logits, logits]
    )
    return kinds[variables["kind"]]


def sick(kind: str) -> Classifier:
    """Networks on which attacks must stay feasible; one program for all kinds."""
    variables = {**linear().variables, "kind": jnp.array(SICK.index(kind))}
    return Classifier.from_function(_sick, variables, features=_taps)


def _noisy(variables, image, key):
    logits = _linear(variables, image, key)
    return logits + 0.5 * jax.random.normal(key, logits.shape)


def noisy(seed=0) -> Classifier:
    """A linear network with Gaussian noise on its logits."""
    return Classifier.from_function(_noisy, linear(seed=seed).variables, features=_taps)


def batch(count, shape=SHAPE, classes=CLASSES, seed=0):
    """Images with saturated pixels and labels, as numpy arrays."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(-0.3, 1.3, size=(count, *shape)).clip(0, 1)
    return images.astype(np.float32), rng.integers(0, classes, count).astype(np.int32)


def predicted(model, images):
    """The classes the model gives to `images` [n, h, w, c]."""
    logits = jax.vmap(lambda x: model(x, jax.random.PRNGKey(0)))(images)
    return np.asarray(jnp.argmax(logits, -1), np.int32)
