"""Pictures of dual perturbations: figures 20 and 21 of the appendix, in small.

python -m benchmarks.papers.dual.figures RUNS --figure gradients|examples
    [--norm=l2|linf] [--seeds 0] [--examples=200] [--train …]

  gradients  the gradient of the loss in the image, for each training (figure 20)
  examples   images, foreground, looks, and what PGD and the dual attack add (figure 21)

Pictures go to RUNS/pictures and are of the first seed. Source: see
`benchmarks.papers.dual.measures`.
"""

import jax
import numpy as np

from benchmarks.papers.dual import measures, tables
from benchmarks.papers.dual.networks import TRAININGS, budgets, load, looks
from benchmarks.papers.lagrangian.figures import PICTURES, first_of_classes
from jaxadv.evaluation.report.plots import draw_image, magnification, pyplot, write
from jaxadv.evaluation.writing.escape import drawn
from jaxadv.objectives import CrossEntropy


def gradients(args, folder):
    """A row a training: gradients, each scaled to its own largest entry."""
    rows = {}
    for name in tables.CLASSIFIERS:
        data, model = _some(args, name)
        if not rows:
            rows = {"image": data.images, "foreground": data.images * data.mask}
        found = loss_gradients(model, data.images, data.labels)
        peak = np.max(np.abs(found), axis=(1, 2, 3), keepdims=True)
        rows[TRAININGS[name][0]] = 0.5 + 0.5 * found / np.maximum(peak, 1e-12)
    draw(rows, folder / f"gradients_{args.norm}.png", "gradients of the loss")


def examples(args, folder):
    """A picture a training: what PGD and the dual attack do to it."""
    network, eps = looks(args.runs), budgets(args.norm)
    for name in tables.CLASSIFIERS:
        data, model = _some(args, name)
        density = jax.jit(jax.vmap(network))(data.images)
        looked = np.exp(np.asarray(density))[..., None]
        peak = np.max(looked, axis=(1, 2, 3), keepdims=True)
        rows = {
            "image": data.images,
            "foreground": data.images * data.mask,
            "looks": data.images * (0.2 + 0.8 * looked / peak),
        }
        for title, attack in {
            "PGD": measures.pgd(args.norm, eps[0], args.steps),
            "dual": measures.dual(args.norm, eps, args.steps),
            "dual, lambda 1": measures.dual(args.norm, eps, args.steps, 1.0, network),
        }.items():
            found = measures.attacked(attack, model, data, batch_size=PICTURES).image
            delta = found - data.images
            factor = magnification(delta)
            rows[title] = found
            rows[f"{title}\nchange × {factor:g}"] = np.clip(0.5 + factor * delta, 0, 1)
        title = (
            f"trained: {TRAININGS[name][0]}, {args.norm} {eps[0]:.3g} and {eps[1]:.3g}"
        )
        draw(rows, folder / f"examples_{args.norm}_{name}.png", title)


def loss_gradients(model, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n, h, w, c] gradients of the cross-entropy in the images."""
    gradient = jax.grad(CrossEntropy().__call__, argnums=1)
    mapped = jax.jit(jax.vmap(gradient, (None, 0, 0)))
    return np.asarray(mapped(model, images, labels))


def draw(rows, path, title):
    """Draws rows of pictures [k, h, w, c], name -> pictures."""
    count = len(next(iter(rows.values())))
    size = 1.3 * count + 1.4, 1.35 * len(rows) + 0.5
    figure, cells = pyplot().subplots(
        len(rows), count, figsize=size, squeeze=False, layout="constrained"
    )
    for line, (name, pictures) in zip(cells, rows.items(), strict=True):
        for axes, picture in zip(line, pictures, strict=True):
            draw_image(axes, np.clip(picture, 0, 1))
        line[0].set_ylabel(drawn(name), rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(drawn(title), fontsize=11)
    write(figure, path)


def _some(args, name):
    """A few images of every class in turn, and a training's network."""
    (run, *_) = tables._runs(args, name)
    model, data = load(run, args.examples)
    rows = first_of_classes(data.labels, PICTURES)
    parts = (data.images, data.labels, data.ids, data.mask)
    return type(data)(*(part[rows] for part in parts)), model


FIGURES = {"gradients": gradients, "examples": examples}


def main():
    args = tables.arguments(None, tuple(FIGURES), "--figure", __doc__)
    folder = args.runs / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    FIGURES[args.asked](args, folder)
    print(f"Pictures: {folder}")


if __name__ == "__main__":
    main()
