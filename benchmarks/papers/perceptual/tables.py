"""Tables 2 to 5 of the perceptual paper, with its numbers beside.

python -m benchmarks.papers.perceptual.tables RUNS --table trainings|bounds|projections
    [--data=shapes|cifar10|imagenet100] [--seeds 0 1 2] [--methods normal pat_self …]
    [--eval=--config.examples=100 …] [--train --config.epochs=8 …]

  trainings    every training under the narrow threat models, PPGD and LPA (tables 2, 3)
  bounds       how many images each attack breaks at three bounds, of a network that was
               trained against it, or by PAT (table 4)
  projections  PPGD and LPA in self-bounded and external balls, with both projections,
               on the networks of PAT (table 5)

Trains and judges what is not there yet, and goes on where it was stopped. Cells are
means ± sample deviations over the seeds, in percent; in brackets what the paper prints:
of CIFAR-10 beside `shapes` in the first table, of ImageNet-100 in the others. Source:
Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen
threat models", 2021.
"""

import statistics
import sys

from benchmarks.papers.perceptual import numbers
from benchmarks.papers.perceptual.networks import (
    DATA,
    PAT,
    TITLES,
    arguments,
    judged,
)
from benchmarks.timing import table

# Row -> the attack of the columns that it was trained against, which the unseen mean
# leaves out. Rows that saw all of them have no such mean.
SEEN = {"linf": "linf", "trades": "linf", "l2": "l2", "jpeg": "jpeg",
        "stadv": "stadv", "recolor": "recolor"}  # fmt: skip
ALL = ("random", "average", "maximum")
SIZES = ("small", "medium", "large")


def trainings(args):
    """A row a training, a column an attack."""
    data, lines = DATA[args.data], []
    names = numbers.COLUMNS[data.paper]
    for method in args.methods or data.rows:
        reports = [judged(method, s, data.suite, args)[0] for s in args.seeds]
        cells = [accuracies(report, method, names) for report in reports]
        printed = numbers.TRAININGS[data.paper].get(method, [None] * len(names))
        rows = zip(zip(*cells, strict=True), printed, strict=True)
        lines.append([TITLES[method], *(_cell(*pair) for pair in rows)])
        _told(reports)
    table(["trained", *names], lines)


def bounds(args):
    """A row an attack: images broken of the network that was trained against it."""
    suite, lines = f"bounds.py:{size_of(args.data)}", []
    for attack, printed in numbers.BOUNDS.items():
        method = attack if attack in DATA[args.data].rows else "pat_self"
        if args.methods and method not in args.methods:
            continue
        reports = [judged(method, s, suite, args)[0] for s in args.seeds]
        cells = []
        for k, (_, strength) in enumerate(printed, start=1):
            found = [broken(report, f"{attack}_{k}") for report in reports]
            cells += [f"{reports[0]['attacks'][f'{attack}_{k}']['eps']:.3g}"]
            cells += [_cell(found, strength)]
        lines.append([attack, TITLES[method], *cells])
        _told(reports)
    titles = [f"{size} {what}" for size in SIZES for what in ("bound", "broken")]
    table(["attack", "of", *titles], lines)


def projections(args):
    """A row an attack, a column a training by PAT."""
    suite = f"projections.py:{size_of(args.data)}"
    methods = [m for m in PAT if m in (args.methods or PAT)]
    found = {
        m: [judged(m, s, suite, args)[0]["attacks"] for s in args.seeds]
        for m in methods
    }
    lines = []
    for label, printed in numbers.PROJECTIONS.items():
        cells = [_cell([one[label]["accuracy"] for one in found[m]]) for m in methods]
        lines.append([*label.split("_"), *cells, f"{printed}"])
    titles = [TITLES[m] for m in methods]
    table(["attack", "ball", "projection", *titles, "paper, PAT"], lines)


def accuracies(report, method, names):
    """Fractions in the order of the columns; None where a row has no such number."""
    attacks, unions = report["attacks"], report["unions"]
    found = {
        "clean": report["clean"]["accuracy"],
        "union": unions["narrow"]["accuracy"],
    }
    narrow = [
        n for n in names if n not in ("union", "unseen mean", "clean", "ppgd", "lpa")
    ]
    for name in narrow:
        whole = unions if name in unions else attacks
        found[name] = whole[name]["accuracy"]
    unseen = [found[name] for name in narrow if name != SEEN.get(method)]
    found["unseen mean"] = None if method in ALL else statistics.fmean(unseen)
    for name in ("ppgd", "lpa"):
        found[name] = attacks[name]["accuracy"] if name in attacks else None
    return [found[name] for name in names]


def broken(report, label):
    """The share of the images that were right and that an attack breaks."""
    clean = report["clean"]["accuracy"]
    return (clean - report["attacks"][label]["accuracy"]) / clean


def _told(reports):
    """What the first report says beside its numbers, to the terminal."""
    for note in dict.fromkeys(reports[0].get("notes", {}).values()):
        print(f"note: {note}", file=sys.stderr)


def size_of(data):
    """What follows the colon of the suites `bounds` and `projections`."""
    if not DATA[data].size:
        sys.exit(
            "this is of shapes and imagenet100 alone; the paper's is of the latter"
        )
    return DATA[data].size


def _cell(values, printed=None):
    beside = "" if printed is None else f" ({printed})"
    if None in values:
        return f"-{beside}"
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread}{beside}"


TABLES = {one.__name__: one for one in (trainings, bounds, projections)}


def main():
    args = arguments(__doc__, "table", list(TABLES)).parse_args()
    TABLES[args.table](args)


if __name__ == "__main__":
    main()
