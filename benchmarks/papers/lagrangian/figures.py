"""Figures 2 to 5, 8 and 9 of the Lagrangian paper, for networks of equal accuracy.

python -m benchmarks.papers.lagrangian.figures RUNS --figure 2|4|5|8|9
    [--methods lagrangian pat …] [--examples=200] [--most=EPS] [--points=8]

  2  ||delta||_2 of PGD in l2 and in linf, of the Lagrangian attack and of Fast-LPA,
     against the clean probability of the true class, with Spearman's rank correlation
  4  images, their foreground, and what is added where l2 and where LPIPS is penalized;
     exact masks are there in the place of figure 3's segmentation
  5  accuracy of every method over the l2 budget of PGD, as in figure 8
  8  the same, figure 8 of the paper's flowers
  9  accuracy over the linf budget

The paper's figure 5 is of three classes of CIFAR-10 and has a network trained against
Carlini and Wagner's attack, figures 8 and 9 are of photographs of flowers; here they
are of whatever the methods in RUNS were trained on. Curves are means of the seeds,
2 and 4 of the first. Pictures go to RUNS/pictures. Flags, folders and the source are
those of `benchmarks.papers.lagrangian.analyses`; `--most` is the largest budget.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.papers.lagrangian import measures
from benchmarks.papers.lagrangian.analyses import attacks
from benchmarks.papers.lagrangian.networks import arguments, load, methods
from benchmarks.timing import table
from jaxadv.attacks import Ascent
from jaxadv.evaluation.report import domain_charts
from jaxadv.evaluation.report.charts import COLORS
from jaxadv.evaluation.report.plots import draw_image, magnification, pyplot, write
from jaxadv.evaluation.writing.escape import drawn
from jaxadv.threats import L2, Linf

STEPS = 20  # of PGD along the curves
PICTURES = 8  # images of figure 4


def figure_2(args, folder):
    """A picture a method: norms against confidence, a panel an attack."""
    lines = []
    for method in methods(args.runs, args.methods):
        model, data = load(method.folders[0], args.examples)
        confidence, found = measures.norms_against_confidence(
            model, *data.rows, attacks(args), seed=args.seed, batch_size=args.batch
        )
        path = folder / f"figure_2_{method.name}.png"
        scatter(confidence, found, path, title=f"trained by {method.title}")
        rho = measures.correlations(confidence, found)
        lines.append([method.title, *(
            f"{np.mean(found[name]):.3f} ({rho[name]:+.2f})" for name in found
        )])  # fmt: skip
    print(f"mean ||delta||_2 (Spearman's rank correlation with the clean probability "
          f"of the true class), {args.examples} test images\n")  # fmt: skip
    table(["trained", *found], lines)


def figure_4(args, folder):
    """A picture a method: images and perturbations."""
    for method in methods(args.runs, args.methods):
        model, data = load(method.folders[0], args.examples)
        rows = first_of_classes(data.labels, PICTURES)
        mask = None if data.mask is None else data.mask[rows]
        found, some = attacks(args), [part[rows] for part in data.rows]
        deltas = {
            f"penalty {penalty}": measures.perturbations(
                found[name], model, *some, seed=args.seed, batch_size=len(rows)
            )
            for penalty, name in (("l2", "lagrangian"), ("LPIPS", "Fast-LPA"))
        }
        path = folder / f"figure_4_{method.name}.png"
        sheet(some[0], mask, deltas, path, title=f"trained by {method.title}")


def figure_l2(args, folder):
    """Accuracy over the l2 budget."""
    _over(args, folder, L2(1.0), args.most or 4 * args.l2, "l2 eps")


def figure_linf(args, folder):
    """Accuracy over the linf budget."""
    _over(args, folder, Linf(1.0), args.most or 2.5 * args.linf, "linf eps")


def _over(args, folder, ball, most, axis):
    budgets = np.linspace(0, most, args.points)
    attack = Ascent(ball, steps=STEPS, rel_step_size=2.5 / STEPS, early_stop=True)
    rates = {}
    for method in methods(args.runs, args.methods):
        found = []
        for run in method.folders:
            model, data = load(run, args.examples)
            found.append(measures.accuracy_over(
                model, *data.rows, attack, budgets, seed=args.seed,
                batch_size=args.batch,
            ))  # fmt: skip
        rates[method.title] = np.mean(found, axis=0)
    domain_charts.curves(
        budgets, rates, folder / f"figure_{args.figure}.png", axis=axis,
        title=f"PGD of {STEPS} steps, {args.examples} test images", measure="accuracy",
    )  # fmt: skip
    print(f"accuracy in % by {axis}, PGD of {STEPS} steps, {args.examples} images\n")
    table(["trained", *(f"{b:.3g}" for b in budgets)], [
        [name, *(f"{100 * r:.1f}" for r in row)] for name, row in rates.items()
    ])  # fmt: skip


def first_of_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows of `count` images, one of each class in turn."""
    turn = np.zeros(len(labels), int)
    for label in np.unique(labels):
        (own,) = np.nonzero(labels == label)
        turn[own] = np.arange(len(own))
    return np.lexsort((labels, turn))[:count]


def scatter(
    confidence: np.ndarray, found: Mapping[str, np.ndarray], path: Path, *, title: str
) -> None:
    """Draws ||delta||_2 against the clean probability of the true class: figure 2.

    Args:
      confidence: [n] probabilities.
      found: attack -> norms [n].
      path: the PNG to write.
      title: over all panels.
    """
    rho = measures.correlations(confidence, found)
    figure, panels = pyplot().subplots(
        1, len(found), figsize=(3.1 * len(found), 3.2), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for k, (axes, name) in enumerate(zip(panels[0], found, strict=True)):
        color = COLORS[k % len(COLORS)]
        axes.plot(confidence, found[name], ".", color=color, ms=4, alpha=0.6)
        told = (
            "constant" if np.isnan(rho[name]) else f"rank correlation {rho[name]:+.2f}"
        )
        axes.set_title(drawn(f"{name}\n{told}"), fontsize=10)
        axes.set_xlabel("clean probability of the class")
        axes.set_xlim(-0.03, 1.03)
        axes.grid(alpha=0.3)
    most = max(np.max(norms) for norms in found.values())
    panels[0, 0].set_ylim(0, 1.05 * most)  # of all panels, which share it
    panels[0, 0].set_ylabel(r"$\|\delta\|_2$")
    figure.suptitle(drawn(f"{title}, {len(confidence)} images"), fontsize=11)
    write(figure, path)


def sheet(
    images: np.ndarray,
    mask: np.ndarray | None,
    deltas: Mapping[str, np.ndarray],
    path: Path,
    *,
    title: str,
) -> None:
    """Draws images, their foreground and perturbations in rows: figures 3 and 4.

    Args:
      images: [k, h, w, c] in [0, 1].
      mask: [k, h, w, 1] of the foreground; None leaves its row out.
      deltas: name -> perturbations [k, h, w, c], each row magnified by its own factor
        and with its ratio of foreground to background below where there are masks.
      path: the PNG to write.
      title: over all rows.
    """
    rows = [("image", images, None)]
    if mask is not None:
        rows.append(("foreground", images * mask, None))
    for name, delta in deltas.items():
        factor = magnification(delta)
        ratios = None if mask is None else measures.f2b(delta, mask)
        shown = np.clip(0.5 + factor * delta, 0, 1)
        rows.append((f"{name}\n× {factor:g}", shown, ratios))
    size = 1.3 * len(images) + 1.4, 1.5 * len(rows) + 0.5
    figure, cells = pyplot().subplots(
        len(rows), len(images), figsize=size, squeeze=False, layout="constrained"
    )
    for line, (name, pictures, ratios) in zip(cells, rows, strict=True):
        for k, axes in enumerate(line):
            draw_image(axes, pictures[k])
            if ratios is not None:
                axes.set_xlabel(f"F2B {ratios[k]:.2f}", fontsize=9)
        line[0].set_ylabel(drawn(name), rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(drawn(title), fontsize=11)
    write(figure, path)


FIGURES = {
    "2": figure_2, "4": figure_4, "5": figure_l2, "8": figure_l2, "9": figure_linf
}  # fmt: skip


def main():
    parser = arguments(__doc__)
    parser.add_argument("--figure", choices=FIGURES, required=True)
    parser.add_argument("--most", type=float, help="budget of figures 5, 8 and 9")
    parser.add_argument("--points", type=int, default=8, help="budgets of a curve")
    args = parser.parse_args()
    folder = args.runs / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    FIGURES[args.figure](args, folder)
    print(f"Pictures: {folder}")


if __name__ == "__main__":
    main()
