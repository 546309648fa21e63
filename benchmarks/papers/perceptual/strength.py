"""How many images the perceptual attacks break, exact against secant.

python -m benchmarks.papers.perceptual.strength RUN [--external=RUN]
    [--eps 0.1 0.2] [--examples=200] [--attacks "lpa exact" "lpa secant"]

RUN is the folder of a training run; its test images are attacked inside the same ball,
self-bounded or bounded in the network of another run.
"""

import argparse
import sys

import jax
import numpy as np

from benchmarks.timing import table
from jaxadv import checkpoints
from jaxadv.attacks import Lpa, Ppgd, UniformNoise
from jaxadv.craft import Crafter, craft_batches
from jaxadv.data import sources
from jaxadv.threats import LpipsBall

SEEDS = (0, 1, 2)


def contenders(eps, network, steps):
    """Attacks in one ball, weakest first.

    A step of PPGD costs about five of LPA's, which takes `steps` in each of 5 rounds.
    """
    exact = LpipsBall(eps, network)
    secant = exact.replace(derivative="secant")
    noise = exact.replace(start=0.2, projection="bisection")
    return {
        "random": UniformNoise(noise, steps=steps),
        "ppgd secant": Ppgd(secant, steps=steps),
        "ppgd exact": Ppgd(exact, steps=steps),
        "lpa secant": Lpa(secant, rounds=5, round_steps=steps),
        "lpa exact": Lpa(exact, rounds=5, round_steps=steps),
    }


def accuracies(model, network, eps, images, labels, args, crafters):
    """name -> accuracy in percent under each attack, one for each seed."""
    found, attacks = {}, contenders(eps, network, args.steps)
    for name in args.attacks or attacks:
        attack = attacks[name]
        crafter = crafters.setdefault(name, Crafter())
        found[name] = []
        for seed in SEEDS:
            got = craft_batches(
                attack, model, jax.random.key(seed), images, labels,
                batch_size=50, crafter=crafter,
            )  # fmt: skip
            found[name].append(100 * np.mean(~got.success))
            print(f"eps {eps:g}, {name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="folder of the run that is attacked")
    parser.add_argument("--external", help="folder of the run that bounds the ball")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.1, 0.2, 0.4])
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--attacks", nargs="+", help="of the table's columns; all")
    args = parser.parse_args()
    model, config, _ = checkpoints.load_classifier(args.run, "last")
    network = None
    if args.external:
        network = checkpoints.load_classifier(args.external, "best")[0]
    source = sources.load(config.data.name, "test", config.data.data_dir)
    rows = source.get(np.arange(args.examples))
    images = np.asarray(rows["image"], np.float32) / 255
    labels = np.asarray(rows["label"], np.int32)
    crafters, lines = {}, []
    for eps in args.eps:
        found = accuracies(model, network, eps, images, labels, args, crafters)
        cells = [f"{np.mean(v):.1f} ± {np.std(v):.1f}" for v in found.values()]
        lines.append([f"{eps:g}", *cells])
    print(f"accuracy in %, {args.examples} images, mean and deviation of 3 seeds")
    table(["eps", *found], lines)


if __name__ == "__main__":
    main()
