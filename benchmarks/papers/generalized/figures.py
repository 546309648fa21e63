"""Pictures of generalized adversarial training: figures 3, A2, A3 and A4 of the paper.

python -m benchmarks.papers.generalized.figures, with the flags of
`benchmarks.papers.generalized.tables`

  3, A2  weights of test images over the l2 eps, of each min-max training; Acc_max and
         Acc_avg over it
  A3     what share of the perturbations of each ball lies inside the other, and how
         large they are in its norm, over the l2 eps
  A4     accuracy over the epochs on validation images that have to withstand both
         attacks, mean of the seeds; runs validated otherwise are left out and named

Rows that are missing are trained. Pictures go to FOLDER/pictures, but for A4 from the
first seed. Source: see `benchmarks.papers.generalized.numbers`.
"""

from pathlib import Path

import jax
import numpy as np

from benchmarks.papers.generalized.tables import (
    BATCH,
    LINF,
    alike,
    arguments,
    result,
    run_of,
    test_images,
    trained,
)
from jaxadv.craft import joint
from jaxadv.evaluation.report import domain_charts
from jaxadv.training import log as logs
from jaxadv.training import settings

SETTLED = 10  # searches, each from the weights that the one before ended with


def pictures(args):
    folder = Path(args.folder) / "pictures"
    for model in args.models:
        for row in args.trainings:
            if row.startswith("min_max"):
                _weights(args, model, row, folder)
        for measure, title in (("acc_max", "Acc_max"), ("acc_avg", "Acc_avg")):
            found = {row: _over(args, model, row, measure) for row in args.trainings}
            domain_charts.curves(
                args.eps, found, folder / f"{model}_{measure}.png", axis="l2 eps",
                title=f"{model}, {args.data}", measure=title,
            )  # fmt: skip
        for row in args.trainings:
            if row.startswith("min_max"):
                _overlap(args, model, row, folder)
        for eps in args.eps:
            _epochs(args, model, eps, folder)
    print(f"Pictures: {folder}")


def _over(args, model, row, name):
    """A number of one row, at each eps."""
    seed = args.seeds[0]
    return [result(args, model, row, eps, seed)[name] for eps in args.eps]


def _weights(args, model, row, folder):
    history = []
    for eps in args.eps:
        names, found = weights_found(args, model, row, eps, args.seeds[0])
        history.append(found)
    domain_charts.weights(
        np.stack(history, 1), names, folder / f"{model}_{row}_weights.png",
        title=f"{model}, {row}: weights of test images",
        ticks=[f"{eps:g}" for eps in args.eps], axis="l2 eps", kind="violin",
    )  # fmt: skip


def weights_found(args, model, row, eps, seed):
    """Norms [2], and the weights [n, 2] that the search settles at on test images."""
    classifier = trained(args, model, row, eps, seed)[0]
    config = run_of(args, model, row, eps, seed)[0]
    defense = settings.plan(config).defense
    names = [attack.threat.norm for attack in defense.attacks]
    images, labels = test_images(args)
    found = []
    for start in range(0, len(images), BATCH):
        rows = np.arange(start, start + BATCH) % len(images)
        batch = {"image": images[rows], "label": labels[rows], "id": rows}
        weights = np.full((BATCH, 2), 0.5, np.float32)
        for _ in range(SETTLED):
            weights = _searched(
                defense, classifier, jax.random.key(seed), batch, weights
            )
        found.append(weights)
    return names, np.concatenate(found)[: len(images)]


@jax.jit
def _searched(defense, model, key, batch, weights):
    return joint.search(defense, model, key, batch, weights)[1]


def _overlap(args, model, row, folder):
    for kind, measure, percent in (
        ("inside", "share of test images", True),
        ("size_in", "mean norm", False),
    ):
        found = {
            f"{a} attack, in the {b} ball": _over(args, model, row, f"{a}_{kind}_{b}")
            for a, b in (("linf", "l2"), ("l2", "linf"))
        }
        domain_charts.curves(
            args.eps, found, folder / f"{model}_{row}_{kind}.png", axis="l2 eps",
            title=f"{model}, {row}: perturbations in the other ball",
            measure=measure, percent=percent,
        )  # fmt: skip


def _epochs(args, model, eps, folder):
    rates = {}
    for row in args.trainings:
        folders = [run_of(args, model, row, eps, seed)[1] for seed in args.seeds]
        own = [folder for folder in folders if not alike(folder, eps)]
        if own:
            print(f"A4 leaves out {row}: {own[0]} is validated with other attacks")
            continue
        lines = [
            [
                line["validation_robust"]
                for line in logs.read(folder)
                if line["kind"] == "epoch"
            ]
            for folder in folders
        ]
        rates[row] = np.mean(lines, axis=0)
    epochs = np.arange(1, 1 + max(map(len, rates.values()), default=0))
    domain_charts.curves(
        epochs, rates, folder / f"{model}_epochs_{eps:g}.png", axis="epoch",
        title=f"{model}: validation under linf {LINF:g} and l2 {eps:g} both",
        measure="accuracy",
    )  # fmt: skip


def main():
    pictures(arguments(__doc__).parse_args())


if __name__ == "__main__":
    main()
