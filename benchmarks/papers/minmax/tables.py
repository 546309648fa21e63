"""Min-max against average attacks: tables 1, 2, 3 and A2 to A6 of the paper; the cost.

python -m benchmarks.papers.minmax.tables RUNS --table 1a|A2|A4|2|3|A5|A6|cost
    [--seeds 0 1 2] [--networks mlp lenet] [--examples=200] [--data=mnist|fashion_mnist]
    [--keep=best]
python -m benchmarks.papers.minmax.tables RUNS --data=cifar10
    --table 1b|A2|A3|2|3|A5|A6|cost …

RUNS/mnist5k, or that of another data set, holds a folder for each network, which is
trained where it is missing (configs/minmax/mnist5k_minmax.py). Prints a Markdown
table with the paper's numbers, of 10,000 images, beside ours, and the 95 % interval
of one seed in brackets. Finished attacks are kept in the folder `attacks` beside the
networks under a code of attack and weights, so a stopped run goes on. As in the paper
the last point of an attack counts, with `--keep=best` the most broken one. MNIST,
Fashion-MNIST and CIFAR-10, with all their images, are prepared as docs/data.md says.
`benchmarks.papers.minmax.headlines` prints the mean lifts of all tables. Source: see
`benchmarks.papers.minmax.numbers`.
"""

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.papers.minmax.bench import Bench
from benchmarks.papers.minmax.numbers import (
    CIFAR,
    DATA,
    HEURISTICS,
    PAPER_A4,
    SIZES,
    STATIC,
    VIEWS,
)
from benchmarks.timing import alternate, interval, ratio, table
from jaxadv.attacks import Fgsm, MinMax
from jaxadv.craft import craft, craft_batches
from jaxadv.evaluation.metrics import domains
from jaxadv.objectives import Margin
from jaxadv.objectives.domains import Images, Transforms, Weighted
from jaxadv.specs import UsageError
from jaxadv.threats import Linf, Shared

UNIVERSAL: dict[str, Any] = dict(
    steps=20, step_size=1 / 6, weight_step_size=1 / 50, gamma=4.0, start="zero"
)
OF_VIEWS: dict[str, Any] = dict(
    steps=20, step_size=1 / 2, weight_step_size=1 / 100, gamma=10.0
)


def attack_of(threat, over=None, kappa=50.0, weights=None, **fields):
    """The paper's attack, with each network's own predictions as targets."""
    parts = {} if over is None else {"over": over}
    objective = Weighted(
        objective=Margin(kappa), targets="prediction", weights=weights, **parts
    )
    return MinMax(threat, objective, **fields)


def lift(rates, average):
    if not np.mean(average):
        return "-"
    return f"{100 * domains.lift(np.mean(rates), np.mean(average)):+.1f} %"


def table_of_ensembles(which, bench):
    """Four networks at once, in four norms."""
    models, rows = ensemble(bench, which)
    lines = []
    for norm, row in rows.items():
        contenders = average_and_min_max(row)
        printed = {"average": row.average, "min-max": row.min_max}
        lines += _lines(bench, which, norm, contenders, tuple(models.values()), printed)
    _table_of_lines("norm", models, lines)


def table_a4(bench):
    """The ensemble of table 1a with fixed weights between equal and learned ones.

    Static weights are those that min-max ends with: on the paper's networks, as it
    prints them, and on these.
    """
    models, rows = ensemble(bench, "1a")
    lines, settled = [], []
    for norm, static in STATIC.items():
        row = rows[norm]
        attack = average_and_min_max(row)["min-max"]
        own = bench.settled(f"1a_{norm}", attack, tuple(models.values()))
        weights = {PAPERS: static, OWN: tuple(np.round(own, 4).tolist())}
        settled += [[norm, k, *(f"{w:.3f}" for w in v)] for k, v in weights.items()]
        weightings = {**HEURISTICS, **weights}
        fixed = {
            name: attack_of(row.threat, weights=weights, fixed=True, **row.numbers)
            for name, weights in weightings.items()
        }
        fixed["clip"] = attack_of(row.threat, kappa=10.0, fixed=True, **row.numbers)
        printed = {name: PAPER_A4[norm, _short(name)] for name in fixed}
        printed |= {"average": row.average, "min-max": row.min_max}
        ends = average_and_min_max(row)
        contenders = {"average": ends["average"], **fixed, "min-max": ends["min-max"]}
        lines += _lines(bench, "1a", norm, contenders, tuple(models.values()), printed)
    _table_of_lines("norm", models, lines)
    print()
    table(["norm", "static weights", *models], settled)


PAPERS, OWN = "static, of the paper's networks", "static, of these networks"


def _short(name):
    """What a weighting is called in the paper and in the names of cells."""
    return name.partition(",")[0]


def ensemble(bench, which):
    """(name -> network, norm -> row) of a table of ensembles."""
    ensembles = bench.paper.ensembles
    if which not in ensembles:
        raise UsageError(
            f"--table {which}: --data={bench.args.data} has {', '.join(ensembles)}"
        )
    names, rows = ensembles[which]
    asked = bench.args.networks or names
    if not set(names) <= set(asked):
        raise UsageError(
            f"--networks: table {which} attacks {', '.join(names)} together; leave the "
            "flag away"
        )
    return bench.models(names), rows


def average_and_min_max(row):
    """The two attacks that a table compares."""
    return {
        "average": attack_of(row.threat, fixed=True, **row.numbers),
        "min-max": attack_of(row.threat, **row.numbers),
    }


def _lines(bench, which, label, contenders, model, printed):
    """One line a weighting: accuracy in each domain, success in all and on average."""
    lines, average = [], None
    for name, attack in contenders.items():
        rates = bench.rates(f"{which}_{label}_{_short(name)}", attack, model)
        rate, paper = rates[:, -2], printed[name]
        average = rate if average is None else average
        accuracies = [f"{v:.1f}" for v in rates[:, :-2].mean(0)]
        ours = interval(rate / 100, len(bench.images)), lift(rate, average)
        known = f"{paper:.2f}", lift(paper, printed["average"])
        in_one = f"{rates[:, -1].mean():.1f}"
        lines.append([label, name, *accuracies, in_one, *ours, *known])
    return lines


def _table_of_lines(first, names, lines):
    header = [f"Acc {name}" for name in names]
    rates = ["ASR_avg", "ASR_all", "lift", "paper", "paper's lift"]
    table([first, "weights", *header, *rates], lines)


def table_2(bench):
    """One linf perturbation for K random digits."""
    lines = []
    for name in bench.models(tuple(bench.paper.universal)):
        for size, paper in zip(SIZES, bench.paper.universal[name], strict=True):
            average, free = universal(bench, name, size)
            count = len(bench.images) // size
            line = [interval(rates[:, -2] / 100, count) for rates in (average, free)]
            line.append(lift(free[:, -2], average[:, -2]))
            line += [f"{rates[:, -1].mean():.1f}" for rates in (average, free)]
            line += [f"{v:.2f}" for v in paper] + [lift(paper[1], paper[0])]
            lines.append([name, str(size), *line])
    table([
        "network", "K", "ASR_gp average", "ASR_gp min-max", "lift", "ASR_avg average",
        "ASR_avg min-max", "paper average", "paper min-max", "paper's lift",
    ], lines)  # fmt: skip


def universal(bench, name, size):
    """Rates of the average and of min-max on groups of `size` images."""
    threat = Shared(Linf(bench.paper.eps[name]))
    return [
        bench.rates(f"2_{name}_k{size}_{kind}",
                    attack_of(threat, Images(), fixed=fixed, **UNIVERSAL),
                    bench.model(name), size)
        for kind, fixed in (("average", True), ("min-max", False))
    ]  # fmt: skip


def of_views(bench, which, name):
    """The average and the min-max attack on transformations of an image."""
    threat, over = Linf(bench.paper.view_eps[name]), Transforms(VIEWS[which][0])
    return {
        "average": attack_of(threat, over, fixed=True, **OF_VIEWS),
        "min-max": attack_of(threat, over, **OF_VIEWS),
    }


def table_of_views(which, bench):
    """Transformations of a digit; the paper's numbers are of CIFAR-10."""
    lines, (parts, paper) = [], VIEWS[which]
    for name, model in bench.models(tuple(paper)).items():
        contenders = of_views(bench, which, name)
        printed = dict(zip(contenders, paper[name], strict=True))
        lines += _lines(bench, which, name, contenders, model, printed)
    _table_of_lines("network", map(view_name, parts), lines)


def view_name(part):
    """What a transformation is called in a table."""
    return type(getattr(part, "transform", part)).__name__


def table_a2(bench):
    """Accuracy of the networks, and under FGSM against their own predictions."""
    attack, key, lines = Fgsm(Linf(0.2)), jax.random.key(0), []
    for name, model in bench.models(tuple(bench.paper.networks)).items():
        clean = bench.predictions(model)
        found = craft_batches(attack, model, key, bench.images, clean)
        attacked = bench.predictions(model, found.image)
        ours = (f"{100 * np.mean(p == bench.labels):.2f}" for p in (clean, attacked))
        paper = (f"{value:.2f}" for value in bench.paper.networks[name])
        lines.append([name, *ours, *paper])
    table(["network", "accuracy", "FGSM", "paper", "paper's FGSM"], lines)


def table_cost(bench):
    """Ten steps against an ensemble beside ten bare passes of each of its networks."""
    networks, steps = bench.models(bench.paper.main[0]), 10
    models = tuple(networks.values())
    images, labels = jax.device_put((bench.images, bench.labels))
    attack = MinMax(Linf(0.2), steps=steps)
    search = jax.jit(craft)

    @jax.jit
    def passes(model, images, labels):
        def value(image, label):
            return Margin(50.0)(model, image, label)

        return jax.vmap(jax.value_and_grad(value))(images, labels)

    def every_pass():
        for _ in range(steps):
            for model in models:
                jax.block_until_ready(passes(model, images, labels))

    def attacked():
        found = search(attack, models, jax.random.key(0), images, labels)
        jax.block_until_ready(found)

    seconds = alternate({"attack": attacked, "passes": every_pass})
    cost = ratio(seconds["attack"], seconds["passes"])
    each = f"{1e3 * np.median(seconds['passes']):.0f} ms"
    names = ", ".join(networks)
    table(["networks", "10 passes of each", "MinMax-10 / these"], [[names, each, cost]])


TABLES = {
    **{t: functools.partial(table_of_ensembles, t) for t in ("1a", "1b", "A3")},
    "A2": table_a2,
    "A4": table_a4,
    "2": table_2,
    **{which: functools.partial(table_of_views, which) for which in VIEWS},
    "cost": table_cost,
}


def arguments(description):
    """A parser of what the tables and the figures have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", choices=DATA, default="mnist5k")
    parser.add_argument(
        "--examples", type=int, help="test images; default: 200 of mnist5k, else all"
    )
    parser.add_argument("--epochs", type=int, help="of networks; default: the config's")
    parser.add_argument("--keep", choices=("last", "best"), default="last")
    parser.add_argument(
        "--networks", nargs="+", choices=CIFAR.networks, help="default: the table's"
    )
    return parser


def main():
    parser = arguments(__doc__)
    parser.add_argument("--table", choices=TABLES, required=True)
    args = parser.parse_args()
    bench = Bench(args)
    command = f"python -m benchmarks.papers.minmax.tables {' '.join(sys.argv[1:])}"
    print(
        f"`{command}`: {len(bench.images)} images, seeds {args.seeds}, mean ± deviation"
    )
    try:
        TABLES[args.table](bench)
    except UsageError as error:
        parser.error(str(error))
    print(f"{bench.seconds:.0f} s of attacks")


if __name__ == "__main__":
    main()
