"""Networks that seem robust and are not, or that are evaluated wrongly."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxadv.classifier import Classifier
from tests import nets

SHAPE, CLASSES = nets.SHAPE, nets.CLASSES


def _soft(variables, image):
    """A smooth network of two layers."""
    hidden = jnp.tanh(3 * variables["v"] @ image.reshape(-1))
    return variables["w"] @ hidden


def variables():
    keys = jax.random.split(jax.random.key(0))
    size = SHAPE[0] * SHAPE[1] * SHAPE[2]
    v = jax.random.normal(keys[0], (16, size)) / size**0.5
    return {"v": v, "w": jax.random.normal(keys[1], (CLASSES, 16))}


def many_units():
    """Weights of a layer of 128 units and of the logits behind it."""
    keys = jax.random.split(jax.random.key(1))
    size = SHAPE[0] * SHAPE[1] * SHAPE[2]
    many = jax.random.normal(keys[0], (128, size)) / size**0.5
    return {"many": many, "out": jax.random.normal(keys[1], (CLASSES, 128)) / 128**0.5}


def sound(variables, image, key):
    return _soft(variables, image)


def quantized(variables, image, key):
    return _soft(variables, jnp.round(image * 15) / 15)


def quantized_by_cast(variables, image, key):
    return _soft(variables, (image * 15).astype(jnp.int32) / 15)


def thermometer(variables, image, key):
    levels = jnp.mean(image[..., None] > jnp.linspace(0.1, 0.9, 9), axis=-1)
    return _soft(variables, levels)


def binarized(variables, image, key):
    return _soft(variables, jnp.where(image > 0.5, 0.9, 0.1))


def signed(variables, image, key):
    return _soft(variables, jnp.sign(image - 0.5))


def winner(variables, image, key):
    return jax.nn.one_hot(jnp.argmax(_soft(variables, image)), CLASSES)


def saturated(variables, image, key):
    return 1e4 * _soft(variables, image)


def tiny(variables, image, key):
    return 1e-4 * _soft(variables, image)


def probabilities(variables, image, key):
    return jax.nn.softmax(_soft(variables, image))


def key_noise(variables, image, key):
    return _soft(variables, image + 0.3 * jax.random.normal(key, image.shape))


def hidden_noise(variables, image, key):
    seed = lax.bitcast_convert_type(jnp.sum(image), jnp.int32)
    noise = jax.random.normal(jax.random.key(seed), image.shape)
    return _soft(variables, image + 0.3 * noise)


def fixed_noise(variables, image, key):
    noise = jax.random.normal(jax.random.key(3), image.shape)
    return _soft(variables, image + 0.3 * noise)


def stopped(variables, image, key):
    return _soft(variables, lax.stop_gradient(image))


def partly_stopped(variables, image, key):
    mask = jnp.arange(SHAPE[1])[:, None] < 4
    return _soft(variables, jnp.where(mask, lax.stop_gradient(image), image))


def shattered(variables, image, key):
    return _soft(variables, image + 2e-3 * jnp.sin(5e3 * image))


@jax.custom_vjp
def _other_gradient(x):
    return x


_other_gradient.defvjp(lambda x: (x, x), lambda x, g: (jnp.cos(977 * x) * g,))


def other_gradient(variables, image, key):
    return _soft(variables, _other_gradient(image))


@jax.custom_vjp
def _same_gradient(x):
    return jnp.sin(x)


_same_gradient.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (jnp.cos(x) * g,))


def same_gradient(variables, image, key):
    return _soft(variables, _same_gradient(image))


def _energy(variables, image):
    return jnp.sum((jnp.tanh(variables["v"] @ image.reshape(-1)) - 0.1) ** 2)


def purified(variables, image, key):
    """Denoises by gradient steps of its own, in a loop."""

    def clean(x, _):
        return x - 0.05 * jax.grad(_energy, argnums=1)(variables, x), None

    return _soft(variables, lax.scan(clean, image, None, length=3)[0])


def recurrent(variables, image, key):
    """A sound network with a loop whose weights differ from turn to turn."""
    stack = jnp.stack([variables["w"].T @ variables["w"]] * 2)
    start = jnp.tanh(variables["v"] @ image.reshape(-1))

    def layer(h, w):
        return jnp.tanh(w @ jnp.tanh(w @ h)), None

    return variables["w"] @ lax.scan(layer, start, stack)[0]


def tied(variables, image, key):
    """A loop that applies the same layers again and again."""

    def turn(_, h):
        return jnp.tanh(variables["w"].T @ (variables["w"] @ h))

    start = jnp.tanh(variables["v"] @ image.reshape(-1))
    return variables["w"] @ lax.fori_loop(0, 3, turn, start)


def attention(variables, image, key):
    """Softmax over the pixels' rows, which stops the gradient of a maximum."""
    rows = image[..., 0]
    mixed = jax.nn.softmax(rows @ rows.T) @ rows
    return _soft(variables, jax.nn.gelu(mixed)[..., None])


def winners(variables, image, key):
    """The largest of many units pass, the others are 0 (k-winners-take-all)."""
    units = variables["many"] @ (image.reshape(-1) - 0.5)
    least = jax.lax.top_k(units, len(units) // 10)[0][-1]
    return 5 * variables["out"] @ jnp.where(units >= least, units, 0.0)


def ranked(variables, image, key):
    """A choice by rank without jumps: the mean of the brighter half."""
    brighter = jax.lax.top_k(image.reshape(-1), image.size // 2)[0]
    return _soft(variables, image + jnp.mean(brighter))


def twins(variables, image, key):
    """Two classes always tie behind the label's: the DLR is constant."""
    a, b, c, _ = _soft(variables, image)
    label = jax.nn.logsumexp(jnp.stack([a, b, c]))
    return jnp.stack([label, a, a, a - 1])


def normalized_again(variables, image, key):
    return _soft(variables, (image - 0.4) / 0.3)


def outside(variables, image, key):
    """Through the host, with a derivative that must be given by hand."""

    @jax.custom_jvp
    def rounded(x):
        like = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(
            lambda a: np.asarray(a).round(1), like, x, vmap_method="expand_dims"
        )

    rounded.defjvps(lambda t, ans, x: jnp.zeros_like(t))
    return _soft(variables, rounded(image))


def no_gradient(variables, image, key):
    grown = lax.while_loop(lambda x: jnp.sum(x) < 99.0, lambda x: 1.5 * x + 0.1, image)
    return _soft(variables, grown / 10)


@jax.custom_batching.custom_vmap
def _centered(x):
    return x


@_centered.def_vmap
def _(size, batched, x):
    return x - jnp.mean(x, axis=0), True


def batch_dependent(variables, image, key):
    return _soft(variables, _centered(image))


class TrainNet(nn.Module):
    """A convolution and a batch norm."""

    @nn.compact
    def __call__(self, images, train):
        x = nn.Conv(4, (3, 3))(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        return nn.Dense(CLASSES)(x.reshape(len(x), -1))


def in_training(variables, image, key):
    out, _ = TrainNet().apply(variables, image[None], True, mutable=["batch_stats"])
    return out[0]


def in_evaluation(variables, image, key):
    return TrainNet().apply(variables, image[None], False)[0]


def classifier(function, **fields) -> Classifier:
    own = variables()
    if function in (in_training, in_evaluation):
        own = TrainNet().init(jax.random.key(0), jnp.zeros((1, *SHAPE)), False)
    if function is winners:
        own = many_units()
    return Classifier.from_function(function, own, **fields)
