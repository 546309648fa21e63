"""The min-max attack paper's headlines: mean lifts over networks or norms.

python -m benchmarks.papers.minmax.headlines RUNS [--tasks ensembles universal …]
    with the other flags of `benchmarks.papers.minmax.tables`

A lift is by which share min-max breaks more than the average; a headline is the plain
mean of the lifts of a table's rows, or of the means of two tables. Beside ours stand
what the paper's tables give and what its text says. Its gains of S, in generalized
training, are printed by `python -m benchmarks.papers.generalized.tables --eps 0.5 1 1.5
2 2.5 3`.
"""

import sys

import numpy as np

from benchmarks.papers.minmax.bench import Bench
from benchmarks.papers.minmax.numbers import HEADLINES, SIZES, VIEWS
from benchmarks.papers.minmax.tables import (
    arguments,
    average_and_min_max,
    ensemble,
    of_views,
    universal,
)
from benchmarks.timing import table
from jaxadv.evaluation.metrics import domains

K = 5  # images under one perturbation


def rows(bench, which):
    """Of each row of a table: ours, average and min-max, and the paper's two."""
    if which == "2":
        for name in bench.models(tuple(bench.paper.universal)):
            ours = universal(bench, name, K)
            yield _means(ours), bench.paper.universal[name][SIZES.index(K)]
    elif which in VIEWS:
        for name, model in bench.models(tuple(VIEWS[which][1])).items():
            attacks = of_views(bench, which, name)
            yield _rates(bench, which, name, attacks, model), VIEWS[which][1][name]
    else:
        models, norms = ensemble(bench, which)
        for norm, row in norms.items():
            attacks = average_and_min_max(row)
            ours = _rates(bench, which, norm, attacks, tuple(models.values()))
            yield ours, (row.average, row.min_max)


def _rates(bench, which, label, attacks, model):
    return _means(
        bench.rates(f"{which}_{label}_{name}", attack, model)
        for name, attack in attacks.items()
    )


def _means(rates):
    return tuple(np.mean(found[:, -2]) for found in rates)


def headline(bench, which):
    """Mean lifts of a table, ours and the paper's, and how many of ours there are.

    A lift over an average that breaks nothing is none.
    """
    ours, paper = zip(*rows(bench, which), strict=True)
    ours = [domains.lift(free, average) for average, free in ours if average]
    paper = [domains.lift(free, average) for average, free in paper]
    return np.mean(ours) if ours else np.nan, np.mean(paper), len(ours), len(paper)


def cell(value):
    return "-" if np.isnan(value) else f"{100 * value:+.2f} %"


def main():
    parser = arguments(__doc__)
    names = tuple(dict.fromkeys(task for part in HEADLINES.values() for task in part))
    parser.add_argument("--tasks", nargs="+", choices=names, default=names)
    args = parser.parse_args()
    bench = Bench(args)
    print(f"`python -m benchmarks.papers.minmax.headlines {' '.join(sys.argv[1:])}`")
    lines = []
    kind = "cifar10" if args.data == "cifar10" else "digits"
    for task, (tables, said) in HEADLINES[kind].items():
        if task not in args.tasks:
            continue
        ours, paper, found, count = np.array(
            [headline(bench, which) for which in tables]
        ).T
        rest = f"{int(found.sum())} of {int(count.sum())}"
        means = cell(np.mean(ours)), cell(np.mean(paper))
        lines.append([task, ", ".join(tables), *means, f"{said:+.2f} %", rest])
    table([
        "task", "tables", "mean lift", "of the paper's tables", "in its text",
        "rows with a lift",
    ], lines)  # fmt: skip


if __name__ == "__main__":
    main()
