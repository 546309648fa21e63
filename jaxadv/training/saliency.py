"""The command `jaxadv saliency`: a small saliency network from foreground masks.

jaxadv saliency --data=shapes --output=runs/saliency.safetensors
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxadv import console
from jaxadv.data import batches, sources
from jaxadv.perceptual.saliency import Saliency, SaliencyNet, foreground_score, save
from jaxadv.specs import UsageError

ABOUT = """\
Trains a small saliency network on the foreground masks of a data set: looks are spread
evenly over the foreground. Prints its foreground score on the test split, beside that
of a guess that knows nothing of the image.
"""


def fit(
    source: Any,
    *,
    steps: int = 1000,
    batch_size: int = 32,
    width: int = 16,
    learning_rate: float = 3e-3,
    seed: int = 0,
    show: Callable[[str], None] = lambda line: None,
) -> Saliency:
    """Trains a `SaliencyNet` on images and masks.

    The loss is the cross-entropy of the log-density to even looks over the foreground,
    in nats above the least there is: 0 is a perfect map. Images without a foreground
    count nothing.

    Args:
      source: images with masks; see `jaxadv.data.sources`.
      steps: of Adam, whose rate falls to 0 along a cosine.
      batch_size: images of a step.
      width: of the network.
      learning_rate: at the beginning.
      seed: of the weights and of the order.
      show: is told the loss every few seconds.

    Raises:
      UsageError: the images have no masks.
    """
    rows = source.get(np.arange(1))
    if "mask" not in rows:
        raise UsageError(
            f"--data: the images of {source.name} have no mask; give a set with masks, "
            "as shapes"
        )
    module = SaliencyNet(width)
    key = jax.random.key(seed)
    network = Saliency(module.init(key, batches.to_float(rows["image"])), module)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    state = optimizer.init(network.variables)

    @jax.jit
    def step(variables, state, images, masks):
        def loss_of(variables):
            return mean_loss(network.replace(variables=variables), images, masks)  # type: ignore[attr-defined]

        loss, grads = jax.value_and_grad(loss_of)(variables)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(variables, updates), state, loss

    variables, told = network.variables, time.monotonic()
    show("compiling the training step …")
    found = batches.train_batches(source, min(batch_size, len(source)), seed)
    for number in range(steps):
        batch = next(found)
        images = batches.to_float(batch["image"])
        variables, state, loss = step(variables, state, images, batch["mask"])
        if time.monotonic() - told > 5 or number + 1 == steps:
            told = time.monotonic()
            show(f"step {number + 1}/{steps}  loss {float(loss):.3f} nats")
    return network.replace(variables=jax.device_get(variables))  # type: ignore[attr-defined]


def mean_loss(network: Saliency, images: jax.Array, masks: jax.Array) -> jax.Array:
    """Mean excess cross-entropy, in nats, over images with a foreground."""

    def one(image, mask):
        mask = mask[..., 0].astype(jnp.float32)
        size = jnp.sum(mask)
        even = mask / jnp.maximum(size, 1)
        excess = -jnp.sum(even * network(image)) - jnp.log(jnp.maximum(size, 1))
        return jnp.where(size > 0, excess, 0.0), size > 0

    losses, counted = jax.vmap(one)(images, masks)
    return jnp.sum(losses) / jnp.maximum(jnp.sum(counted), 1)


def scores(network: Saliency, source: Any, examples: int = 500) -> tuple[float, float]:
    """Mean foreground scores: of the network, and of looks that are spread evenly."""
    rows = source.get(np.arange(min(examples, len(source))))
    images, masks = batches.to_float(rows["image"]), rows["mask"]
    found = jax.jit(jax.vmap(lambda x, m: foreground_score(network(x), m)))
    return float(np.mean(found(images, masks))), float(np.mean(masks))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status is 2 for a user's mistake."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = _parser().parse_args(given)

    def work():
        where = (asked.data_dir,) if asked.data_dir else ()
        train = sources.load(asked.data, "train", *where)
        network = fit(
            train, steps=asked.steps, width=asked.width, seed=asked.seed,
            show=lambda line: print(line, flush=True),
        )  # fmt: skip
        save(asked.output, network)
        own, even = scores(network, sources.load(asked.data, "test", *where))
        own, even = (f"{100 * value:.1f} %" for value in (own, even))
        print(f"foreground score of test images {own}, of even looks {even}")
        print(f"network: {asked.output}")
        return 0

    return console.conclude(work, "nothing was written")


def _parser():
    parser = console.Parser(prog="jaxadv saliency", description=ABOUT)
    parser.add_argument("--data", default="shapes", help="a data set with masks")
    parser.add_argument("--data_dir", help="where prepared data sets lie")
    parser.add_argument("--output", required=True, help=".safetensors file to write")
    parser.add_argument("--steps", type=int, default=1000, help="of 32 images")
    parser.add_argument("--width", type=int, default=16, help="channels at full size")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
