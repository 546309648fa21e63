"""What every attack costs, beside the passes of the network that it counts.

python -m benchmarks.speed.cost [--network=small] [--batch=128] [--rounds=9]
    [--attacks "pgd linf" "apgd l2" …]

An attack runs a few steps, compiled, without a stop at its first success. Its passes
are those that it counts, with one forward pass at the end; a forward pass and an input
gradient are timed alone in the same rounds. Compiling includes tracing; memory is what
the compiled program takes beside its arguments and results.
"""

import argparse
import time

import jax
import numpy as np

from benchmarks.networks import DENSE, NETWORKS, SMALL, build
from benchmarks.speed.overhead import bare_gradient
from benchmarks.timing import alternate, ratio, table
from jaxadv import protocols
from jaxadv.attacks import build_attack
from jaxadv.craft import craft

EPS = {"linf": 0.1, "l2": 1.0, "l1": 10.0, "l0": 20}
UNION = {
    "name": "union",
    "parts": [{"name": n, "eps": EPS[n]} for n in ("linf", "l2", "l1")],
}
LPIPS = {"name": "lpips", "eps": 0.3}
MEASURED = dict(
    zip(
        ("lenet_v2", "resnet18", "mlp", "small"),
        NETWORKS | DENSE | SMALL,
        strict=True,
    )
)
STEPS = {"steps": 10}
ROUNDS = {"rounds": 2, "round_steps": 5}


def _balls(name, norms, **fields):
    return {
        f"{name} {norm}": {
            "name": name,
            "threat": {"name": norm, "eps": EPS[norm]},
            **fields,
        }
        for norm in norms
    }


SPECS = {
    **_balls("fgsm", ("linf", "l2", "l1")),
    **_balls("pgd", EPS, rel_step_size=0.25, **STEPS),
    **_balls("apgd", ("linf", "l2"), **STEPS),
    **_balls("apgd_l1", ("l1",), **STEPS),
    "msd": {"name": "msd", "threat": UNION, **STEPS},
    "lagrangian": {"name": "lagrangian", **STEPS},
    **_balls("adam", ("linf",), learning_rate=0.05, **STEPS),
    **_balls("ddn", ("l2",), **STEPS),
    **_balls("deepfool", ("linf", "l2", "l1"), **STEPS),
    **_balls("fmn", EPS, **STEPS),
    **_balls("fab", ("linf", "l2", "l1"), round_steps=10, targets=3),
    **_balls("carlini_wagner", ("l2",), **ROUNDS),
    **_balls("elastic_net", ("l1",), **ROUNDS),
    **_balls("pgd0", ("l0",), **STEPS),
    **_balls("jsma", ("l0",), round_steps=5, targets=2),
    **_balls("square", ("linf", "l2"), **STEPS),
    **_balls("sparse_rs", ("l0",), **STEPS),
    **_balls("few_pixel", ("l0",), **STEPS),
    **_balls("hop_skip_jump", ("l2", "linf"), **STEPS),
    **_balls("uniform_noise", ("linf",), **STEPS),
    "ppgd": {"name": "ppgd", "threat": LPIPS, **STEPS},
    "lpa": {"name": "lpa", "threat": LPIPS, **ROUNDS},
    "fast_lpa": {"name": "fast_lpa", "threat": LPIPS, **STEPS},
}
# They take transformations, corruptions or several networks in the place of one ball.
ELSEWHERE = {"corrupt", "grid", "min_max"}


def measure(label, given, rounds):
    """The row of an attack of (classifier, images, labels)."""
    model, images, labels = given
    attack, key = build_attack(SPECS[label], label), jax.random.key(0)
    start = time.perf_counter()
    run = jax.jit(craft).lower(attack, model, key, images, labels).compile()
    compiling = time.perf_counter() - start
    forward = jax.jit(lambda model, images: jax.vmap(model)(images))
    gradient = jax.jit(bare_gradient)
    calls = {
        "forward": lambda: forward(model, images),
        "gradient": lambda: gradient(model, images, labels),
        "attack": lambda: run(attack, model, key, images, labels),
    }
    seconds = alternate(
        {k: lambda f=f: jax.block_until_ready(f()) for k, f in calls.items()}, rounds
    )
    steps = attack.steps * attack.restarts
    forwards, backwards = (steps * count for count in protocols.passes(attack))
    backward = seconds["gradient"] - seconds["forward"]
    counted = (forwards + 1) * seconds["forward"] + backwards * backward
    memory = run.memory_analysis().temp_size_in_bytes
    return [
        label,
        f"{forwards + 1} + {backwards}",
        f"{1000 / len(images) * np.median(seconds['attack']):.2f}",
        ratio(seconds["attack"], counted),
        f"{compiling:.1f}",
        f"{memory / 2**20:.0f}",
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=MEASURED, default="small")
    parser.add_argument("--batch", type=int, default=128, help="images at a time")
    parser.add_argument("--rounds", type=int, default=9, help="timed repetitions")
    parser.add_argument("--attacks", nargs="+", choices=SPECS, default=list(SPECS))
    args = parser.parse_args()
    given = jax.device_put(build(MEASURED[args.network], args.batch))
    device = jax.devices()[0].device_kind
    print(f"{MEASURED[args.network]}, batch {args.batch}, {device}, jax "
          f"{jax.__version__}: median (quartiles) of {args.rounds} rounds")  # fmt: skip
    header = ["attack", "passes an image, forward + backward", "s / 1,000 images"]
    header += ["÷ counted passes", "compiling, s", "memory, MiB"]
    table(header, (measure(label, given, args.rounds) for label in args.attacks))


if __name__ == "__main__":
    main()
