"""A network and images so small that training them takes no time."""

import jax
import numpy as np
from flax import linen as nn

from jaxadv import parallel
from jaxadv.data import sources
from jaxadv.defenses import Clean
from jaxadv.defenses.base import Network
from jaxadv.training import settings
from jaxadv.training import state as train_state
from jaxadv.training.optim import Optimizer

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


def small_settings():
    """A config of `Small`, which has to be one of the models under the name small."""
    config = settings.default_config()
    config.update({"epochs": 3, "batch_size": 16, "log_steps": 2})
    config.data.validation = 15
    config.model = {"name": "small", "norm": True}
    config.defense = {"name": "adversarial"}
    threat = {"name": "linf", "eps": 0.05}
    config.attack = {"name": "pgd", "threat": threat, "steps": 1, "rel_step_size": 1}
    config.validation.steps = 2
    config.optimizer.learning_rate = 0.05
    return settings.complete(config)


def make_state(module=None, defense=None, optimizer=None, averaged=False):
    """The state of a new run of a network, by default `Small` with SGD."""
    optimizer = optimizer or Optimizer(learning_rate=0.1).make(0.1)
    return train_state.create_state(
        Network(module or Small()),
        (defense or Clean()).init(SHAPE, 100),
        optimizer,
        seed=0,
        image_shape=SHAPE,
        averaged=averaged,
    )


def make_batch(n=16, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (n, *SHAPE)).astype(np.uint8),
        "label": rng.integers(0, CLASSES, n).astype(np.int32),
        "id": rng.permutation(100)[:n].astype(np.int32),
    }


def on_devices(step, count):
    """`step` by pmap on the first `count` devices, for host state and batch."""
    run = jax.pmap(
        step,
        axis_name=parallel.AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        devices=jax.devices()[:count],
    )

    def call(state, batch, defense):
        batch = {k: v.reshape(count, -1, *v.shape[1:]) for k, v in batch.items()}
        return jax.device_get(run(state, batch, defense))

    return call


def close(a, b, tolerance):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance),
        a,
        b,
    )
