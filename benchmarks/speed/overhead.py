"""What PGD-10 costs beside ten bare gradients of the same network.

`craft` runs its steps in a loop. Beside it stands the same with its steps unrolled,
which XLA optimizes as one program, and what the compiler takes for each.

python -m benchmarks.speed.overhead [--batch=128] [--rounds=15]
"""

import argparse
import time
from unittest import mock

import jax
import numpy as np

from benchmarks.networks import DENSE, NETWORKS, build
from benchmarks.timing import alternate, ratio, table
from jaxadv.attacks import Ascent
from jaxadv.craft import Crafter, compiled, craft, craft_batches
from jaxadv.objectives import CrossEntropy
from jaxadv.threats import Linf

STEPS = 10


def bare_gradient(model, images, labels):
    """The input gradients of the cross-entropy, and nothing else."""

    def loss(image, label):
        return CrossEntropy()(model, image, label)

    return jax.vmap(jax.grad(loss))(images, labels)


def unrolled(*args):
    """`craft` without a loop."""

    def repeat(count, body, carry):
        for _ in range(count):
            carry = body(carry)
        return carry

    with mock.patch.object(compiled, "repeat", repeat):
        return craft(*args)


def compiled_in(function, *args):
    """(compiled function, seconds of tracing and compiling it)."""
    start = time.perf_counter()
    found = jax.jit(function).lower(*args).compile()
    return found, time.perf_counter() - start


def measure(name, batch, rounds):
    model, images, labels = build(name, batch)
    images, labels = jax.device_put((images, labels))
    model = jax.device_put(model)
    attack = Ascent(Linf(8 / 255), steps=STEPS, rel_step_size=0.25)
    key, crafter = jax.random.key(0), Crafter()
    gradient, given = jax.jit(bare_gradient), (attack, model, key, images, labels)
    loop, loop_seconds = compiled_in(craft, *given)
    line, line_seconds = compiled_in(unrolled, *given)
    host = np.asarray(images), np.asarray(labels)
    seconds = alternate(
        {
            "bare": lambda: jax.block_until_ready(gradient(model, images, labels)),
            "craft": lambda: jax.block_until_ready(loop(*given)),
            "unrolled": lambda: jax.block_until_ready(line(*given)),
            "craft_batches": lambda: craft_batches(
                attack, model, key, *host, batch_size=batch, crafter=crafter
            ),
        },
        rounds,
    )
    ten = STEPS * seconds["bare"]
    return [
        name,
        f"{1e3 * np.median(seconds['bare']):.0f} ms",
        ratio(seconds["craft"], ten),
        ratio(seconds["craft_batches"], ten),
        ratio(seconds["unrolled"], ten),
        f"{loop_seconds:.1f} s",
        f"{line_seconds:.1f} s",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128, help="images at a time")
    parser.add_argument("--rounds", type=int, default=15, help="timed repetitions")
    args = parser.parse_args()
    device = jax.devices()[0].device_kind
    print(f"PGD-{STEPS} / {STEPS} bare gradients, batch {args.batch}, {device}, "
          f"jax {jax.__version__}: median (quartiles)")  # fmt: skip
    rows = [measure(name, args.batch, args.rounds) for name in NETWORKS | DENSE]
    header = ["network", "bare gradient", "craft", "craft_batches", "unrolled craft"]
    table([*header, "compiling craft", "compiling it unrolled"], rows)


if __name__ == "__main__":
    main()
