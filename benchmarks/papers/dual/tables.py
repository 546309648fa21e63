"""Tables of dual perturbations, in small on rendered shapes with exact masks.

python -m benchmarks.papers.dual.tables RUNS --table attacks|eps_f|eps_b|lam|smoothing
    [--norm=l2|linf] [--seeds 0 1 2] [--examples=200] [--draws=100]
    [--train --config.model.width=8 …]

  attacks    accuracy of clean, AT-PGD and AT-Dual networks under PGD in the ball of the
             foreground's budget, and under dual perturbations
  eps_f      the same over foreground budgets, the background's fixed
  eps_b      the same over background budgets, the foreground's fixed
  lam        accuracy and foreground score over the weight of the saliency term
  smoothing  answers of smoothed networks under dual perturbations that are adapted to
             smoothing: right, abstained and wrong apart (the paper's tables 4 to 6)

Trains what is not trained yet. Means of the seeds ± their sample deviation, in percent.
The paper's numbers are of photographs and larger networks, and are not repeated here.
Source: see `benchmarks.papers.dual.measures`.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np

from benchmarks.papers.dual import measures
from benchmarks.papers.dual.networks import TRAININGS, budgets, load, looks, trained
from benchmarks.timing import table
from jaxadv.evaluation import metrics

CLASSIFIERS = ("clean", "at_pgd", "at_dual")
SMOOTHED = ("gaussian", "smooth_adv", "macer")
FACTORS = (0.5, 1.0, 2.0, 4.0)  # of a budget, along a sweep
WEIGHTS = (0.0, 0.1, 1.0, 10.0)  # of the saliency term


def attacks(args):
    """Accuracy under PGD and under dual perturbations."""
    eps = budgets(args.norm)
    asked = {
        f"PGD {eps[0]:.3g}": measures.pgd(args.norm, eps[0], args.steps),
        f"dual {eps[0]:.3g}, {eps[1]:.3g}": measures.dual(args.norm, eps, args.steps),
    }
    _accuracies(args, ["clean", *asked], [None, *asked.values()])


def eps_f(args):
    """Accuracy over the foreground's budget."""
    fore, back = budgets(args.norm)
    swept = [fore * factor for factor in FACTORS]
    asked = [measures.dual(args.norm, (eps, back), args.steps) for eps in swept]
    _accuracies(args, [f"eps_F {eps:.3g}" for eps in swept], asked)


def eps_b(args):
    """Accuracy over the background's budget."""
    fore, back = budgets(args.norm)
    swept = [0.0, *(back * factor for factor in FACTORS)]
    asked = [measures.dual(args.norm, (fore, eps), args.steps) for eps in swept]
    _accuracies(args, [f"eps_B {eps:.3g}" for eps in swept], asked)


def lam(args):
    """Accuracy and foreground score over the weight of the saliency term."""
    network, lines = looks(args.runs), []
    for name in CLASSIFIERS:
        found = [_over_weights(args, network, run) for run in _runs(args, name)]
        for number, weight in enumerate(WEIGHTS):
            lines.append([
                TRAININGS[name][0], f"{weight:g}",
                *(_cell([seed[number][k] for seed in found]) for k in range(3)),
            ])  # fmt: skip
    header = ["trained", "lambda", "accuracy", "foreground score", "of clean images"]
    table(header, lines)


def _over_weights(args, network, run):
    """Accuracy and scores of one network at each weight."""
    model, data = load(run, args.examples)
    before = np.mean(measures.scores(network, data.images, data.mask))
    rows = []
    for weight in WEIGHTS:
        attack = measures.dual(
            args.norm, budgets(args.norm), args.steps, weight, network
        )
        found = measures.attacked(attack, model, data, batch_size=args.batch)
        score = np.mean(measures.scores(network, found.image, data.mask))
        rows.append((np.mean(~found.success), score, before))
    return rows


def smoothing(args):
    """Answers of smoothed networks, clean and attacked."""
    lines, eps = [], budgets(args.norm)
    attack = measures.dual(args.norm, eps, args.steps, noise=(args.sigma, args.samples))
    for name in SMOOTHED:
        found = {"clean": [], "dual": []}
        for run in _runs(args, name):
            model, data = load(run, args.examples)
            moved = measures.attacked(attack, model, data, batch_size=args.batch).image
            for kind, images in (("clean", data.images), ("dual", moved)):
                found[kind].append(
                    measures.answers(model, images, data, args.sigma, args.draws)
                )
        for kind, seeds in found.items():
            shares = ("right", "abstained", "wrong")
            cells = [_cell([seed[share] for seed in seeds]) for share in shares]
            lines.append([TRAININGS[name][0], kind, *cells])
    print(
        f"sigma {args.sigma:g}, {args.draws} draws, alpha 0.001; the attack takes the "
        f"mean over {args.samples} draws in each of {args.steps} steps\n"
    )
    table(["trained", "images", "right", "abstained", "wrong"], lines)


def _accuracies(args, titles, asked):
    lines = []
    for name in CLASSIFIERS:
        found = []
        for run in _runs(args, name):
            model, data = load(run, args.examples)
            attack = [one for one in asked if one is not None]
            row = measures.over(model, data, attack, batch_size=args.batch)
            if len(attack) < len(asked):
                row.insert(0, measures.clean(model, data))
            found.append(row)
        cells = [_cell(column) for column in zip(*found, strict=True)]
        lines.append([TRAININGS[name][0], *cells])
    low, high = metrics.wilson(args.examples // 2, args.examples)
    known = f"{50 * (high - low):.1f}"
    print(
        f"{args.norm}, {args.steps} steps, {args.examples} test images: an accuracy of "
        f"50 % is known to ± {known} from one seed\n"
    )
    table(["trained", *titles], lines)


def _runs(args, name):
    return trained(name, args.norm, args.seeds, args.runs, args.flags)


def _cell(values):
    values = [100 * float(value) for value in values]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


TABLES = {one.__name__: one for one in (attacks, eps_f, eps_b, lam, smoothing)}


def arguments(given=None, choices=tuple(TABLES), flag="--table", about=__doc__):
    """What tables and figures are asked with."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument(flag, choices=choices, required=True, dest="asked")
    parser.add_argument("--norm", choices=measures.BALLS, default="l2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--examples", type=int, default=200, help="test images")
    parser.add_argument("--batch", type=int, default=100, help="images at a time")
    parser.add_argument("--steps", type=int, default=20, help="of the attacks")
    parser.add_argument("--sigma", type=float, default=0.12, help="of the noise")
    parser.add_argument("--draws", type=int, default=100, help="of an answer")
    parser.add_argument("--samples", type=int, default=16, help="draws of a step")
    parser.add_argument("--train", nargs=argparse.REMAINDER, default=[], dest="flags")
    return parser.parse_args(given)


def main():
    args = arguments()
    TABLES[args.asked](args)


if __name__ == "__main__":
    main()
