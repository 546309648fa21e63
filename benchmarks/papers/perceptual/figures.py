"""Figures 2, 4b, 4c and 5 of the perceptual paper, in small.

python -m benchmarks.papers.perceptual.figures RUNS
    --figure overlap|strength|correlation|distances
    [--data=shapes|imagenet100] [--seeds 0] [--methods l2 pat_self] [--train …]

  overlap      which images l2, StAdv and LPA break, alone and together (figure 2)
  strength     images broken, of a network trained against the attack, against how much
               people would see (figure 4b)
  correlation  how each distance foretells what people see (figure 4c)
  distances    how far each attack at its medium bound moves the images (figure 5)

Pictures go to RUNS/DATA/pictures and are of the first seed, `overlap` and `distances`
of each of --methods. What people see of ImageNet-100 is the
perceptibility that the paper prints for the bounds. For `shapes` nobody was
asked: in the place of answers stands the distance of stlpips_pytorch with the weights
that were fitted to people's judgements. With a study's answers at hand,
`jaxadv study` draws figures 4a and 4c from them.
"""

import numpy as np

from benchmarks.papers.perceptual import numbers
from benchmarks.papers.perceptual.networks import DATA, arguments, judged
from benchmarks.papers.perceptual.tables import broken, size_of
from jaxadv.evaluation import metrics
from jaxadv.evaluation.report import charts
from jaxadv.evaluation.report.plots import pyplot, write
from jaxadv.evaluation.tools import study
from jaxadv.evaluation.writing.escape import drawn

METHODS = ("l2", "pat_self")
TRIPLE = ("l2_2", "stadv_2", "lpa_2")
LEARNED = "lpips_learned"
_FEWEST = 5  # broken images that a mean distance is of


def overlap(args, folder):
    """A picture a training: bars of the exact sets of broken images."""
    for method in args.methods or METHODS:
        _, found = _judged(method, args)
        counts = metrics.broken_by(found, TRIPLE)
        path = folder / f"overlap_{method}.png"
        charts.overlap(counts, TRIPLE, path, title=f"Broken by exactly these: {method}")


def distances(args, folder):
    """A picture a training: a panel a distance, a violin an attack."""
    for method in args.methods or METHODS:
        report, found = _judged(method, args)
        labels = [f"{attack}_2" for attack in numbers.BOUNDS]
        moved = {label: metrics.distances(found, label) for label in labels}
        names = next(iter(moved.values()))
        values = {n: {label: moved[label][n] for label in labels} for n in names}
        path = folder / f"distances_{method}.png"
        title = f"Distances of the broken images: {method}"
        charts.violins(values, path, title=title)


def strength(args, folder):
    """A line an attack: what it breaks, against what is seen of it."""
    figure, axes = pyplot().subplots(figsize=(6.4, 4.4), layout="constrained")
    for k, (attack, groups) in enumerate(_groups(args).items()):
        x = [group["seen"] for group in groups]
        y = [100 * group["broken"] for group in groups]
        marker, color = charts.MARKERS[k % 7], charts.COLORS[k % 7]
        axes.plot(x, y, marker=marker, color=color, label=attack)
    axes.set_xlabel(drawn(_seen(args)))
    axes.set_ylabel("images broken (%)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    write(figure, folder / "strength.png")


def correlation(args, folder):
    """Bars: Pearson's correlation of the mean distances with what is seen."""
    groups = [one for line in _groups(args).values() for one in line]
    groups = [one for one in groups if one["count"] >= _FEWEST]
    seen, found = [one["seen"] for one in groups], {}
    for name in groups[0]["distances"]:
        if name != LEARNED:
            means = [one["distances"][name] for one in groups]
            found[name] = study.correlation(means, seen)
            told = ", ".join(f"{k} {_told(v)}" for k, v in found[name].items())
            print(f"{name}: {told}; {len(groups)} bounds")
    charts.correlation(found, folder / "correlation.png")


def _told(value):
    return "-" if value is None else f"{value:.3f}"


def _groups(args):
    """Attack -> its bounds: what was broken, the mean distances, and what is seen."""
    groups = {}
    for attack, printed in numbers.BOUNDS.items():
        method = attack if attack in DATA[args.data].rows else "pat_self"
        report, found = _judged(method, args)
        groups[attack] = []
        for k, (perceptibility, _) in enumerate(printed, start=1):
            label = f"{attack}_{k}"
            moved = metrics.distances(found, label)
            means = {n: float(np.mean(v)) if len(v) else 0.0 for n, v in moved.items()}
            groups[attack].append(
                {
                    "broken": broken(report, label),
                    "count": len(next(iter(moved.values()))),
                    "distances": means,
                    "seen": means.get(LEARNED, perceptibility),
                }
            )
    return groups


def _seen(args):
    if args.data == "shapes":
        return "mean distance with weights fitted to people's judgements"
    return 'perceptibility (% "different") in the paper'


def _judged(method, args):
    return judged(method, args.seeds[0], f"bounds.py:{size_of(args.data)}", args)


FIGURES = {one.__name__: one for one in (overlap, strength, correlation, distances)}


def main():
    args = arguments(__doc__, "figure", list(FIGURES)).parse_args()
    folder = args.runs / args.data / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    FIGURES[args.figure](args, folder)
    print(f"Pictures: {folder}")


if __name__ == "__main__":
    main()
