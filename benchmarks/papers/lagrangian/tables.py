"""Table 1 of the paper: all methods at equal clean accuracy, under ten attacks.

python -m benchmarks.papers.lagrangian.tables RUNS [--data=shapes|fashion_mnist|cifar10]
    [--target=0.9] [--seeds 0 1 2] [--methods lagrangian at_l2 …]
    [--eval=--config.examples=100 …] [--train --config.epochs=12 …]

Trains what is not trained yet (`jaxadv match` finds each budget), judges each run under
the suite of ten attacks and under AutoAttack in linf, and prints means ± sample
deviations over the seeds, in percent. It goes on where it was stopped. The trainings
differ in nothing but the defense, its attack and its budget, so that seeds are paired:
a second table has the differences to Lagrangian training at equal seeds, which do not
hang on what the seeds alone make of a network.
"""

import argparse
import statistics
from pathlib import Path

from benchmarks.papers.lagrangian.methods import (
    DATA,
    METHODS,
    alexnet,
    trained,
)
from benchmarks.papers.lagrangian.networks import evaluated, left
from benchmarks.timing import table
from jaxadv.evaluation import metrics
from jaxadv.sweep import budgets

AUTOATTACK = "autoattack.py"
_MEANS = ("unseen_mean", "union_mean")


def main():
    args = _arguments()
    methods = args.methods or DATA[args.data].methods
    rows, labels, lpa = {}, [], alexnet(args)
    for method in methods:
        notes = trained(method, args)
        reports = _reports(
            notes, DATA[args.data].suite, METHODS[method].which, (*lpa, *args.eval)
        )
        eps = reports[0]["attacks"]["linf"]["eps"]
        flags = (f"--config.eps={eps}", *args.eval)
        suite = f"{AUTOATTACK}:{args.version}"
        strong = _reports(notes, suite, METHODS[method].which, flags)
        labels = list(reports[0]["attacks"])
        rows[method] = _row(notes, reports, strong)
    _print(rows, labels, args)


def _arguments(given=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("--data", default="shapes", choices=DATA)
    parser.add_argument("--target", default="0.9", help="clean accuracy of all methods")
    parser.add_argument("--tolerance", default="0.01")
    parser.add_argument("--trials", default="6", help="budgets tried for a method")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument(
        "--version", default="standard", help="of AutoAttack, or components as a+b"
    )
    parser.add_argument("--train", nargs=argparse.REMAINDER, default=[], dest="flags")
    parser.add_argument("--eval", default=[], action="append", help="flag of the suite")
    return parser.parse_args(given)


def _reports(notes, suite, which, flags):
    """The reports of a method's runs under a suite."""
    name = f"{suite.replace('.py', '').replace(':', '_')}_{which}"
    folders = map(Path, notes["folders"])
    return [evaluated(f, suite, name, flags, which=which)[0] for f in folders]


def _row(notes, reports, strong):
    """What one method's reports say: title of the column -> fractions of the seeds."""
    found = {"clean": [one["clean"]["accuracy"] for one in reports]}
    for label in reports[0]["attacks"]:
        found[label] = [one["attacks"][label]["accuracy"] for one in reports]
    for mean in _MEANS:
        found[mean] = [one[mean] for one in reports]
    found["autoattack"] = [left(one)["accuracy"] for one in strong]
    found["gap"] = [
        pgd - worst
        for pgd, worst in zip(found["linf"], found["autoattack"], strict=True)
    ]
    return {"notes": notes, "n": reports[0]["clean"]["n"], "columns": found}


def _print(rows, labels, args):
    columns = ["clean", *labels, "unseen_mean", "union_mean", "autoattack", "gap"]
    print(f"\nautoattack: {args.version}, in linf; gap: linf less that")
    one = next(iter(rows.values()))
    target, tolerance = 100 * float(args.target), 100 * float(args.tolerance)
    print(f"rule: {budgets.RULE.format(target=target, tolerance=tolerance)}.")
    low, high = metrics.wilson(round(one["n"] * 0.5), one["n"])
    print(
        f"{one['n']} test images, {len(args.seeds)} seeds: mean ± sample deviation, in "
        f"%; an accuracy of 50 % is known to ± {50 * (high - low):.1f} from one seed."
    )
    lines = []
    for method, row in rows.items():
        (budget,) = row["notes"]["chosen"]["budget"].values()
        mark = "" if row["notes"]["matched"] else " (not matched)"
        values = [_cell(row["columns"][name]) for name in columns]
        lines.append([METHODS[method].title, f"{budget}{mark}", *values])
    table(["training", "budget", *columns], lines)
    _place(rows)
    _paired(rows)


def _paired(rows, base="lagrangian"):
    """Prints the means less those of a method, seed by seed."""
    if base not in rows or len(rows) < 2:
        return
    lines = []
    for method, row in rows.items():
        if method == base:
            continue
        cells = []
        for name in ("clean", *_MEANS, "autoattack"):
            pairs = zip(row["columns"][name], rows[base]["columns"][name], strict=True)
            cells.append(_cell([own - other for own, other in pairs]))
        lines.append([METHODS[method].title, *cells])
    title = f"less {METHODS[base].title}, in points"
    print()
    table([title, "clean", *_MEANS, "autoattack"], lines)


def _place(rows):
    """Says where the Lagrangian training stands among those that match."""
    for name in _MEANS:
        means = {
            method: statistics.fmean(row["columns"][name])
            for method, row in rows.items()
            if row["notes"]["matched"]
        }
        order = sorted(means, key=lambda k: -means[k])
        if "lagrangian" in order:
            place = order.index("lagrangian") + 1
            best = METHODS[order[0]].title
            print(
                f"{name}: Lagrangian is number {place} of {len(order)}; the highest is "
                f"{best} with {100 * means[order[0]]:.1f} %."
            )


def _cell(values):
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
