"""Generalized adversarial training beside single attacks, tables 4, A7 and A8.

python -m benchmarks.papers.generalized.tables [--models mlp lenet]
    [--trainings linf min_max …] [--eps 2.0 …] [--seeds 0 1 2] [--epochs=30]
    [--folder=runs/gat]    [--data=mnist5k|mnist|fashion_mnist]

Each row is trained, unless its folder has it, and attacked on all test images by PGD of
20 steps in both balls and by one perturbation of linf 0.3 for all of them; a run that
was stopped goes on. Several eps, as `--eps 0.5 1 1.5 2 2.5 3`, give S too, the area
under Acc_max, and by how much it exceeds that of training against one attack.
`--data=mnist` is the paper's own size; it and Fashion-MNIST are prepared as
docs/data.md says. `benchmarks.papers.generalized.figures` takes the same flags
and draws the pictures, `benchmarks.papers.generalized.cost` times a step. Source: see
`benchmarks.papers.generalized.numbers`.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.papers.generalized.numbers import (
    GAINS,
    OF_THREE,
    PAPER,
    PAPER_EPS,
    UNIVERSAL,
)
from benchmarks.timing import interval, table
from configs.minmax import mnist5k_gat, mnist_gat
from jaxadv import checkpoints, parallel
from jaxadv.attacks import Ascent
from jaxadv.craft import Crafter, craft_batches, joint
from jaxadv.data import sources
from jaxadv.defenses.base import correct, cross_entropies
from jaxadv.evaluation import metrics
from jaxadv.evaluation.metrics import domains
from jaxadv.threats import L2, Linf, lp
from jaxadv.training import loop

LINF, STEPS = 0.2, 20
DATA = ("mnist5k", "mnist", "fashion_mnist")
PASSES, BATCH = 10, 125  # of the universal perturbation over the test images
CRAFTER = Crafter()
VALIDATION = "validation.txt"  # which attacks a run is validated with
ACCURACIES = (
    "clean", "linf", "l2", "universal", "of_three", "acc_max", "union", "acc_avg"
)  # fmt: skip
HEADER = (
    "training", "clean", "linf", "l2", "universal", "mean of three", "max", "union",
    "average", "paper: universal", "of three", "max", "average", "seconds",
)  # fmt: skip


def run_of(args, model, row, eps, seed):
    """The config and the folder of one row."""
    file = mnist5k_gat if args.data == "mnist5k" else mnist_gat
    config = file.get_config(f"{model},{row}")
    config.data.name, config.seed = args.data, seed
    config.epochs = args.epochs or config.epochs
    name = f"{args.data}-{model}-{row}-{config.epochs}-{seed}"
    if row == "l2":
        config.attack.threat.eps = eps
    elif "l2" in config.attacks:
        config.attacks.l2.threat.eps = eps
    if row not in ("natural", "linf", "usgd"):  # the others do not know the l2 eps
        name += f"-{eps:g}"
    return config, Path(args.folder) / name


def trained(args, model, row, eps, seed):
    """The classifier of one row, and the seconds of the call that finished it.

    It is validated in both balls whatever it is trained against, unless the folder
    holds a run already: `alike` tells.
    """
    config, folder = run_of(args, model, row, eps, seed)
    start, common = time.monotonic(), tuple(balls(eps).values())
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / VALIDATION).write_text(repr(common))
    same = alike(folder, eps)
    loop.run(config, folder, validation=common if same else None)
    seconds, note = time.monotonic() - start, folder / "seconds.json"
    if not note.exists():
        note.write_text(json.dumps(seconds))
    classifier = checkpoints.load_classifier(folder, "last")[0]
    return classifier, json.loads(note.read_text())


def alike(folder, eps):
    """Whether the run in a folder is validated in both balls."""
    note = folder / VALIDATION
    return note.exists() and note.read_text() == repr(tuple(balls(eps).values()))


def test_images(args):
    source = sources.load(args.data, "test", None)
    rows = source.get(np.arange(len(source)))
    images = np.asarray(rows["image"], np.float32) / 255
    return images, np.asarray(rows["label"], np.int32)


@jax.jit
def judge(model, images, labels):
    logits = jax.vmap(model)(images)
    return cross_entropies(logits, labels), correct(logits, labels)


@jax.jit
def climb(attack, model, delta, images, labels):
    """The universal perturbation after one batch."""
    axis = jax.vmap(
        lambda x, y: joint.ascend(attack, model, delta, x, y, jax.random.key(0)),
        axis_name=parallel.AXIS,
    )
    return axis(images[None], labels[None])[0]


def under_one_perturbation(model, images, labels):
    """Losses and hits under the one found by passes over all images."""
    threat = Linf(mnist_gat.UNIVERSAL_EPS)
    attack = Ascent(threat, steps=1, rel_step_size=0.1, keep="last")
    delta = jnp.zeros(images.shape[1:])
    for _ in range(PASSES):
        for start in range(0, len(images) - BATCH + 1, BATCH):
            rows = slice(start, start + BATCH)
            delta = climb(attack, model, delta, images[rows], labels[rows])
    return judge(
        model, np.asarray(jax.vmap(lp.apply, (None, 0))(delta, images)), labels
    )


def balls(eps):
    """The two attacks on a trained network, by name."""
    threats = {"linf": Linf(LINF), "l2": L2(eps)}
    return {
        name: Ascent(threat, steps=STEPS, rel_step_size=2.5 / STEPS)
        for name, threat in threats.items()
    }


def result(args, model, row, eps, seed):
    """The numbers of one row at one seed, as fractions; found again if made before.

    Also how far the perturbations of each ball lie inside the other one: figure A3.
    """
    path = run_of(args, model, row, eps, seed)[1] / f"result-{eps:g}.json"
    if path.exists():
        return json.loads(path.read_text())
    classifier, seconds = trained(args, model, row, eps, seed)
    images, labels = test_images(args)
    numbers = {"clean": float(judge(classifier, images, labels)[1].mean())}
    losses, hits, attacks = [], [], balls(eps)
    for i, (name, attack) in enumerate(attacks.items()):
        key = jax.random.fold_in(jax.random.key(seed), i)
        found = craft_batches(
            attack, classifier, key, images, labels, batch_size=250, crafter=CRAFTER
        )
        values, right = judge(classifier, found.image, labels)
        losses.append(values)
        hits.append(right)
        numbers[name] = float(right.mean())
        (other,) = attacks.keys() - {name}
        sizes = np.asarray(in_ball(attacks[other].threat, images, found.image))
        numbers[f"{name}_inside_{other}"] = float(
            np.mean(sizes <= attacks[other].threat.eps)
        )
        numbers[f"{name}_size_in_{other}"] = float(np.mean(sizes))
    right = under_one_perturbation(classifier, images, labels)[1]
    numbers["universal"] = float(right.mean())
    numbers["of_three"] = float(np.mean([numbers[k] for k in (*attacks, "universal")]))
    numbers |= metrics.types(np.array(losses), np.array(hits))
    numbers |= {"seconds": seconds, "examples": len(labels)}
    path.write_text(json.dumps(numbers))
    return numbers


@jax.jit
def in_ball(threat, images, others):
    """[n] the sizes of the changes of images in a ball's norm."""
    return jax.vmap(threat.size)(others - images, images)


def compare(args):
    """One table a network and eps, and the area S where there are several eps."""
    for model in args.models:
        areas = {row: [] for row in args.trainings}
        for eps in args.eps:
            lines = []
            for row in args.trainings:
                found = [result(args, model, row, eps, seed) for seed in args.seeds]
                areas[row].append(np.mean([f["acc_max"] for f in found]))
                lines.append([row, *_cells(found), *_paper(model, row, eps, found)])
                print(f"{model}, {eps:g}: {lines[-1]}", file=sys.stderr, flush=True)
            config = run_of(args, model, args.trainings[0], eps, args.seeds[0])[0]
            print(
                f"\n{model}, {args.data}, linf {LINF}, l2 {eps:g}, seeds {args.seeds}, "
                f"{config.epochs} epochs, {found[0]['examples']} test images; percent, "
                "95 % intervals of one seed in brackets\n"
            )
            table(list(HEADER), lines)
        if len(args.eps) > 1:
            print(f"\n{model}: S, area under Acc_max from l2 {args.eps[0]} to "
                  f"{args.eps[-1]}, over its width; gains over training against one "
                  f"attack; the paper's from its table A8, while its text says {GAINS}"
                  "\n")  # fmt: skip
            table_of_areas(args.eps, areas, _paper_curves(model, args.eps))


def table_of_areas(eps, curves, paper):
    """S of each training, and its gains; curves are Acc_max over eps, by training."""
    ours, known = (_areas(eps, some) for some in (curves, paper))
    table(["training", *AREAS, *(f"paper: {name}" for name in AREAS)], [
        [row, *_gains(ours, row), *_gains(known, row)] for row in curves
    ])  # fmt: skip


AREAS = ("S", "over linf", "over l2")


def _areas(eps, curves):
    width = eps[-1] - eps[0]
    return {row: metrics.area(eps, values) / width for row, values in curves.items()}


def _gains(areas, row):
    if row not in areas:
        return ["-"] * len(AREAS)
    found = [f"{areas[row]:.4f}"]
    for other in ("linf", "l2"):
        known = other in areas and other != row
        gain = domains.lift(areas[row], areas[other]) if known else np.nan
        found.append(f"{100 * gain:+.2f} %" if np.isfinite(gain) else "-")
    return found


def _paper_curves(model, eps):
    """Acc_max of the paper's trainings at `eps`, {} where it has not all of them."""
    if not set(eps) <= set(PAPER_EPS):
        return {}
    places = [PAPER_EPS.index(value) for value in eps]
    return {
        row: [pairs[i][0] / 100 for i in places] for row, pairs in PAPER[model].items()
    }


def _cells(found):
    for name in ACCURACIES:
        yield interval([f[name] for f in found], found[0]["examples"])


def _paper(model, row, eps, found):
    numbers = ["-"] * 4
    if eps == 2 and row in mnist_gat.TRAININGS:
        index = mnist_gat.TRAININGS.index(row)
        numbers[:2] = (f"{v[model][index]:.2f}" for v in (UNIVERSAL, OF_THREE))
    if eps in PAPER_EPS and row in PAPER[model]:
        pair = PAPER[model][row][PAPER_EPS.index(eps)]
        numbers[2:] = [f"{v:.2f}" for v in pair]
    return *numbers, f"{np.mean([f['seconds'] for f in found]):.0f}"


def arguments(description):
    """A parser of what the tables and the figures have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--models", nargs="+", default=["mlp", "lenet"])
    parser.add_argument("--trainings", nargs="+", default=list(mnist_gat.TRAININGS))
    parser.add_argument("--eps", type=float, nargs="+", default=[2.0], help="of l2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="default: the config's")
    parser.add_argument("--data", choices=DATA, default="mnist5k")
    parser.add_argument("--folder", default="runs/gat", help="of the runs")
    return parser


def main():
    args = arguments(__doc__).parse_args()
    print(f"`python -m benchmarks.papers.generalized.tables {' '.join(sys.argv[1:])}`")
    compare(args)


if __name__ == "__main__":
    main()
