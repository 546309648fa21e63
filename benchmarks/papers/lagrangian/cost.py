"""A training step of each method beside PGD-5, and beside the passes that it counts.

python -m benchmarks.papers.lagrangian.cost [--batch=64] [--rounds=15]
    [--methods lagrangian mma …] [--examples=5000000]

The passes are input gradients, forward passes in evaluation mode, and gradients of the
weights in train mode; each is timed alone, in the same rounds. At the end the memory of
single examples is made for `--examples` images, and a step writes into it.
"""

import argparse
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import alternate, ratio, table
from jaxadv import parallel
from jaxadv.attacks import Ascent, Lagrangian, Msd
from jaxadv.defenses import (
    AdvBnn,
    Adversarial,
    Iaat,
    Learn2Perturb,
    Mart,
    Mma,
    Threshold,
    Trades,
)
from jaxadv.defenses.base import Network, cross_entropies
from jaxadv.models import MODELS
from jaxadv.threats import L1, L2, Linf, Union
from jaxadv.training import state as train_state
from jaxadv.training.optim import Optimizer

SHAPE, CLASSES = (32, 32, 3), 10


@dataclasses.dataclass(frozen=True)
class Step:
    """A method and the passes of one of its steps, each over the whole batch.

    Attributes:
      defense: what is trained.
      gradients: input gradients, a forward and a backward pass each.
      forwards: forward passes in evaluation mode.
      updates: gradients of the weights in train mode.
      around: the random network that is trained around the one whose passes are timed;
        "" for that itself.
    """

    defense: Any
    gradients: int
    forwards: int = 0
    updates: int = 1
    around: str = ""


def _pgd(steps, threat=None):
    threat = threat or Linf(8 / 255)
    return (Ascent(threat, steps=steps, rel_step_size=0.25, keep="last"),)


def _balls():
    return Union((Linf(8 / 255), L2(0.5), L1(12.0)))


STEPS = {
    "pgd-5": Step(Adversarial(_pgd(5)), 5),
    "lagrangian": Step(Adversarial((Lagrangian(),)), 5),
    "trades": Step(Trades(_pgd(10)), 10, 1, 2),  # the clean logits of the divergence
    "mart": Step(Mart(_pgd(10)), 10, 0, 2),
    "threshold": Step(Threshold(_pgd(10)), 10, 1),
    "iaat": Step(Iaat(_pgd(10)), 30, 3),
    # Who is correct, the end of PGD and ten halvings; clean and mixed images.
    "mma": Step(Mma(_pgd(10, L2(1.0)), d_max=1.0, min_eps=0.5), 10, 12, 2),
    "learn2perturb": Step(Learn2Perturb(_pgd(7)), 7, 0, 2, "learn2perturb"),
    # Predictions, and one pass of clean and attacked images together.
    "pni": Step(
        Adversarial(_pgd(7), alpha=0.5, beta=0.5, predicted=True), 7, 1, 2, "pni"
    ),
    "adv_bnn": Step(AdvBnn(_pgd(10)), 10, 0, 1, "adv_bnn"),
    "msd": Step(Adversarial((Msd(_balls(), steps=10),)), 10, 30),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--batch", type=int, default=64, help="images")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--examples", type=int, default=5_000_000)
    args = parser.parse_args()
    device = jax.devices()[0].device_kind
    print(
        f"ResNet-18 of width 16, 32x32x3, batch {args.batch}, {device}, jax "
        f"{jax.__version__}: median (quartiles) of {args.rounds} rounds"
    )
    seconds = _seconds(args)
    header = ["training", "gradients", "forwards", "updates", "step", "step / passes",
              "step / PGD-5"]  # fmt: skip
    table(header, [_line(method, seconds) for method in args.methods])
    _memory(args)


def _seconds(args):
    """Seconds of each method's step, and of each kind of pass, in every round."""
    module = MODELS["resnet18"](width=16, stage_sizes=(1, 1, 1), num_classes=CLASSES)
    network, rng = Network(module, (0.5,), (0.25,)), np.random.default_rng(0)
    n = args.batch
    batch = {
        "image": rng.random((n, *SHAPE), np.float32),
        "label": rng.integers(0, CLASSES, n).astype(np.int32),
        "id": np.arange(n, dtype=np.int32),
    }
    key = jax.random.key(0)
    rows = jax.tree.map(lambda x: jnp.asarray(x)[None], batch)
    images, labels = rows["image"][0], rows["label"][0]

    def stated(memory, around=""):
        own = network
        if around:
            own = Network(MODELS[around](network=module, num_classes=CLASSES))
        made = train_state.create_state(
            own, memory, Optimizer().make(0.1), seed=0, image_shape=SHAPE
        )
        return jax.device_put(made)

    def step(defense, state, batch):
        return jax.grad(lambda p: defense.loss(p, state, batch, key), has_aux=True)(
            state.params
        )

    def value(model, image, label):
        return cross_entropies(model(image)[None], label[None])[0]

    def update(state):
        def mean(params):
            logits, _ = network.train(params, state.batch_stats, images, key)
            return jnp.mean(cross_entropies(logits, labels))

        return jax.grad(mean)(state.params)

    plain = stated(())
    model = network.classifier(plain.params, plain.batch_stats)
    run = jax.jit(jax.vmap(step, (None, None, 0), axis_name=parallel.AXIS))
    gradient = jax.jit(jax.vmap(jax.grad(value, 1), (None, 0, 0)))
    forward = jax.jit(jax.vmap(lambda m, x: m(x), (None, 0)))
    updated = jax.jit(update)
    calls = {
        "gradients": lambda: gradient(model, images, labels),
        "forwards": lambda: forward(model, images),
        "updates": lambda: updated(plain),
    }
    for method in dict.fromkeys(["pgd-5", *args.methods]):
        defense = STEPS[method].defense
        state = stated(defense.init(SHAPE, n), STEPS[method].around)
        calls[method] = lambda d=defense, s=state: run(d, s, rows)
    waited = {k: lambda f=f: jax.block_until_ready(f()) for k, f in calls.items()}
    return alternate(waited, args.rounds)


def _line(method, seconds):
    step, counts = seconds[method], dataclasses.asdict(STEPS[method])
    counts = {name: counts[name] for name in ("gradients", "forwards", "updates")}
    passes = sum(count * seconds[name] for name, count in counts.items())
    return [
        method,
        *map(str, counts.values()),
        f"{1e3 * np.median(step):.0f} ms",
        ratio(step, passes),
        ratio(step, seconds["pgd-5"]),
    ]


def _memory(args):
    """Makes the memories for `args.examples` images, and tells how large they are."""
    for method in ("mma", "iaat"):
        memory = jax.device_put(STEPS[method].defense.init(SHAPE, args.examples))
        ids = jnp.arange(args.batch)
        written = jax.jit(
            lambda m, i: jax.tree.map(lambda x: x.at[i].set(1.0), m), donate_argnums=0
        )(memory, ids)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(written))
        print(f"{method}: memory of {args.examples:,} examples: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
