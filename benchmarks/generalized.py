"""Generalized adversarial training beside single attacks, as in the paper's table A8.

python -m benchmarks.generalized [--models mlp lenet] [--trainings linf min_max …]
    [--eps 2.0 …] [--seeds 0 1 2] [--epochs=30] [--folder=runs/gat]
    [--data=mnist5k|mnist|fashion_mnist]
python -m benchmarks.generalized --cost

Prints tables and draws figures 3, A2 and A4. Each row is trained, unless its folder has
it, and attacked on all test images by PGD of 20 steps in both balls and by one
perturbation of linf 0.3 for all of them; a run that was stopped goes on. `--data=mnist`
is the paper's own size; it and Fashion-MNIST are prepared as the README says. `--cost`
instead times a training step beside the passes that it counts.
Source: Wang et al., "Adversarial attack generation empowered by min-max optimization",
2021 (in its version of 2019), tables 4, A7 and A8.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import alternate, ratio, table
from configs import mnist5k_gat, mnist_gat
from jaxadv import checkpoints, parallel, train_state, training
from jaxadv import metrics as logs
from jaxadv.attacks import Ascent
from jaxadv.craft import craft_batches
from jaxadv.data import sources
from jaxadv.defenses import Generalized, universal
from jaxadv.defenses.base import Network, correct, cross_entropies
from jaxadv.evaluation import domain_charts, metrics
from jaxadv.models import MODELS
from jaxadv.optim import Optimizer
from jaxadv.threats import L2, Linf, lp

LINF, STEPS = 0.2, 20
DATA = ("mnist5k", "mnist", "fashion_mnist")
PASSES, BATCH = 10, 125  # of the universal perturbation over the test images
PAPER_EPS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
# (Acc_max, Acc_avg) in percent at those eps.
PAPER = {
    "mlp": {
        "natural": ((1.80, 48.27), (1.17, 39.01), (2.32, 19.23),
                    (0.85, 8.28), (2.27, 4.70), (1.54, 2.67)),
        "linf": ((77.23, 87.46), (77.95, 85.71), (77.42, 82.45),
                 (66.34, 73.43), (49.40, 64.59), (31.23, 55.86)),
        "l2": ((11.73, 54.57), (34.68, 65.20), (59.82, 75.16),
               (69.14, 75.88), (67.66, 71.97), (57.83, 66.05)),
        "average": ((73.67, 85.88), (73.70, 84.30), (74.76, 81.93),
                    (72.23, 77.05), (63.37, 69.86), (49.49, 62.41)),
        "average_dpar": ((76.98, 87.53), (76.39, 85.49), (76.18, 82.53),
                         (74.14, 78.21), (65.54, 71.41), (51.04, 62.89)),
        "min_max": ((75.56, 86.66), (74.92, 84.74), (75.33, 82.22),
                    (73.43, 77.55), (64.99, 70.80), (50.54, 62.58)),
        "min_max_dpar": ((76.72, 87.43), (76.49, 85.85), (77.24, 83.55),
                         (74.29, 78.35), (65.55, 71.70), (51.00, 63.63)),
    },
    "lenet": {
        "natural": ((15.23, 57.86), (15.36, 54.10), (12.34, 41.00),
                    (17.57, 28.63), (11.16, 15.67), (2.57, 9.25)),
        "linf": ((93.26, 96.17), (93.13, 95.00), (90.26, 92.43),
                 (78.80, 86.39), (58.47, 77.13), (32.93, 65.81)),
        "l2": ((26.89, 66.39), (57.94, 80.05), (77.39, 86.60),
               (84.06, 86.58), (78.42, 83.01), (68.34, 78.28)),
        "average": ((90.34, 94.79), (89.02, 93.16), (88.77, 91.28),
                    (84.29, 87.28), (74.39, 82.28), (60.01, 74.53)),
        "average_dpar": ((91.52, 95.34), (89.99, 93.61), (89.96, 92.11),
                         (85.44, 88.23), (75.09, 82.67), (61.19, 75.50)),
        "min_max": ((90.21, 94.78), (90.56, 94.01), (89.00, 91.39),
                    (84.82, 87.60), (74.42, 81.93), (60.76, 75.04)),
        "min_max_dpar": ((91.60, 95.30), (90.80, 93.98), (89.80, 91.96),
                         (85.47, 88.33), (75.45, 82.45), (63.18, 76.37)),
    },
}  # fmt: skip
# Acc-uni of table A7, at the l2 eps of 2.
UNIVERSAL = {
    "mlp": (21.61, 90.90, 82.49, 86.69, 87.88, 86.13, 87.55, 91.27),
    "lenet": (58.93, 98.70, 96.63, 97.41, 97.36, 98.22, 97.77, 98.37),
}
HEADER = (
    "training", "clean", "linf", "l2", "universal", "max", "union", "average",
    "paper's universal", "paper's max", "paper's average", "seconds",
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
    """The classifier of one row, trained or found, and the seconds that it took."""
    config, folder = run_of(args, model, row, eps, seed)
    start = time.monotonic()
    training.run(config, folder)
    seconds, note = time.monotonic() - start, folder / "seconds.json"
    if not note.exists():
        note.write_text(json.dumps(seconds))
    classifier = checkpoints.load_classifier(folder, "last")[0]
    return classifier, json.loads(note.read_text())


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
        lambda x, y: universal.ascend(attack, model, delta, x, y, jax.random.key(0)),
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


def result(args, model, row, eps, seed):
    """The numbers of one row at one seed, as fractions; found again if made before."""
    path = run_of(args, model, row, eps, seed)[1] / f"result-{eps:g}.json"
    if path.exists():
        return json.loads(path.read_text())
    classifier, seconds = trained(args, model, row, eps, seed)
    images, labels = test_images(args)
    hits = [judge(classifier, images, labels)[1]]
    losses = []
    for i, threat in enumerate((Linf(LINF), L2(eps))):
        attack = Ascent(threat, steps=STEPS, rel_step_size=2.5 / STEPS)
        key = jax.random.fold_in(jax.random.key(seed), i)
        found = craft_batches(attack, classifier, key, images, labels, batch_size=250)
        values, right = judge(classifier, found.image, labels)
        losses.append(values)
        hits.append(right)
    losses, hits = np.array(losses), np.array(hits)
    numbers = {
        "clean": float(hits[0].mean()),
        "linf": float(hits[1].mean()),
        "l2": float(hits[2].mean()),
        "universal": float(
            under_one_perturbation(classifier, images, labels)[1].mean()
        ),
        **metrics.types(losses, hits[1:]),
        "seconds": seconds,
    }
    path.write_text(json.dumps(numbers))
    return numbers


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
            epochs = args.epochs or "all"
            print(f"\n{model}, {args.data}, linf {LINF}, l2 {eps:g}, seeds "
                  f"{args.seeds}, {epochs} epochs; percent\n")  # fmt: skip
            table(list(HEADER), lines)
        if len(args.eps) > 1:
            print(f"\n{model}: S, area under Acc_max from l2 {args.eps[0]} to "
                  f"{args.eps[-1]}, over its width\n")  # fmt: skip
            width = args.eps[-1] - args.eps[0]
            table(["training", "S"], [
                [row, f"{metrics.area(args.eps, values) / width:.4f}"]
                for row, values in areas.items()
            ])  # fmt: skip


def pictures(args):
    """Weights and Acc_max over eps, and accuracy in validation over the epochs."""
    seed, folder = args.seeds[0], Path(args.folder) / "pictures"
    for model in args.models:
        for row in args.trainings:
            if row.startswith("min_max"):
                history = np.stack(
                    [weights_found(args, model, row, eps, seed) for eps in args.eps], 1
                )
                domain_charts.weights(
                    history, ["linf", "l2"], folder / f"{model}_{row}_weights.png",
                    title=f"{model}, {row}: weights of test images",
                    ticks=[f"{eps:g}" for eps in args.eps], axis="l2 eps",
                    kind="violin",
                )  # fmt: skip
        found = {
            row: [result(args, model, row, eps, seed)["acc_max"] for eps in args.eps]
            for row in args.trainings
        }
        domain_charts.curves(
            args.eps, found, folder / f"{model}_acc_max.png", axis="l2 eps",
            title=f"{model}, {args.data}", measure="Acc_max",
        )  # fmt: skip
        for eps in args.eps:
            rates = {
                row: [
                    line["validation_robust"]
                    for line in logs.read(run_of(args, model, row, eps, seed)[1])
                    if line["kind"] == "epoch"
                ]
                for row in args.trainings
                if row != "natural"  # it is validated without an attack
            }
            epochs = np.arange(1, 1 + max(map(len, rates.values()), default=0))
            domain_charts.curves(
                epochs, rates, folder / f"{model}_epochs_{eps:g}.png", axis="epoch",
                title=f"{model}, l2 eps {eps:g}: validation under its own attack",
                measure="accuracy",
            )  # fmt: skip
    print(f"\nPictures: {folder}")


def weights_found(args, model, row, eps, seed):
    """[n, 2] the weights that the search of a training ends with on test images."""
    folder = run_of(args, model, row, eps, seed)[1]
    classifier = checkpoints.load_classifier(folder, "last")[0]
    attacks = [
        Ascent(threat, steps=STEPS, rel_step_size=2.5 / STEPS, keep="last")
        for threat in (Linf(LINF), L2(eps))
    ]
    diversity = mnist_gat.DIVERSITY * row.endswith("dpar")
    defense = Generalized(tuple(attacks), diversity=diversity)
    images, labels = test_images(args)
    search = jax.jit(lambda *given: defense.search(classifier, *given)[1])
    found = []
    for start in range(0, len(images), BATCH):
        rows = np.arange(start, start + BATCH) % len(images)
        batch = {"image": images[rows], "label": labels[rows], "id": rows}
        equal = np.full((BATCH, 2), 0.5, np.float32)
        found.append(search(jax.random.key(seed), batch, equal))
    return np.concatenate(found)[: len(images)]


def _cells(found):
    names = ("clean", "linf", "l2", "universal", "acc_max", "union", "acc_avg")
    for name in names:
        values = 100 * np.array([f[name] for f in found])
        spread = f" ± {values.std():.1f}" if len(values) > 1 else ""
        yield f"{values.mean():.1f}{spread}"


def _paper(model, row, eps, found):
    numbers = ["-", "-", "-"]
    if eps == 2:
        index = mnist_gat.TRAININGS.index(row)
        numbers[0] = f"{UNIVERSAL[model][index]:.2f}"
    if eps in PAPER_EPS and row in PAPER[model]:
        pair = PAPER[model][row][PAPER_EPS.index(eps)]
        numbers[1:] = [f"{v:.2f}" for v in pair]
    return *numbers, f"{np.mean([f['seconds'] for f in found]):.0f}"


def cost(args):
    """The step beside its K * R input gradients and one pass in train mode.

    And beside these with the threats' own directions and projections, which any PGD
    in the same balls pays for.
    """
    device = jax.devices()[0].device_kind
    print(f"step / counted passes, batch {args.batch}, 2 types, 10 steps, {device}, "
          f"jax {jax.__version__}: median (quartiles)")  # fmt: skip
    header = ["network", "weighting", "step", "step / passes", "with the projections"]
    table(header, [
        _cost(model, weighting, args)
        for model in args.models for weighting in ("average", "min_max")
    ])  # fmt: skip


def _cost(name, weighting, args):
    steps, types, n = 10, 2, args.batch
    attacks = [Ascent(threat, steps=steps, rel_step_size=0.2, keep="last")
               for threat in (Linf(LINF), L2(2.0))]  # fmt: skip
    defense = Generalized(tuple(attacks), weighting=weighting)
    network = Network(MODELS[name]())
    state = train_state.create_state(
        network, defense, Optimizer(kind="adam").make(1e-3),
        seed=0, image_shape=(28, 28, 1), examples=n,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.random((n, 28, 28, 1), np.float32),
        "label": rng.integers(0, 10, n).astype(np.int32),
        "id": np.arange(n, dtype=np.int32),
    }
    state = jax.device_put(state)
    model = network.classifier(state.params, state.batch_stats)
    key, rows = jax.random.key(0), jax.tree.map(lambda x: jnp.asarray(x)[None], batch)
    many = {k: jnp.concatenate([v] * (types + 1)) for k, v in batch.items()}
    twice = {k: v[: types * n] for k, v in many.items()}

    def step(defense, state, batch):
        return jax.grad(lambda p: defense.loss(p, state, batch, key)[0])(state.params)

    def value(model, image, label):
        return cross_entropies(model(image)[None], label[None])[0]

    def mean(params, batch):
        logits, _ = network.train(params, {}, batch["image"], key)
        return jnp.mean(cross_entropies(logits, batch["label"]))

    run_step = jax.jit(jax.vmap(step, (None, None, 0), axis_name=parallel.AXIS))
    inner = jax.jit(jax.vmap(jax.grad(value, 1), (None, 0, 0)))
    outer = jax.jit(jax.grad(mean))
    points = jnp.asarray(rng.normal(0, 0.2, (n, 28, 28, 1)), jnp.float32)

    def move(threat, point, image):
        return threat.project(point + threat.direction(point, point, image), image)

    moves = jax.jit(jax.vmap(lambda *a: [move(t.threat, *a) for t in attacks]))
    calls = {
        "moves": lambda: moves(points, rows["image"][0]),
        "step": lambda: run_step(defense, state, rows),
        "inner": lambda: inner(model, twice["image"], twice["label"]),
        "outer": lambda: outer(state.params, many),
    }
    seconds = alternate(
        {k: lambda run=run: jax.block_until_ready(run()) for k, run in calls.items()},
        args.rounds,
    )
    passes = steps * seconds["inner"] + seconds["outer"]
    with_moves = passes + steps * seconds["moves"]
    whole = seconds["step"]
    return [name, weighting, f"{1e3 * np.median(whole):.0f} ms",
            ratio(whole, passes), ratio(whole, with_moves)]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["mlp", "lenet"])
    parser.add_argument("--trainings", nargs="+", default=list(mnist_gat.TRAININGS))
    parser.add_argument("--eps", type=float, nargs="+", default=[2.0], help="of l2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="default: the config's")
    parser.add_argument("--data", choices=DATA, default="mnist5k")
    parser.add_argument("--folder", default="runs/gat", help="of the runs")
    parser.add_argument("--cost", action="store_true", help="time steps instead")
    parser.add_argument("--batch", type=int, default=128, help="images, with --cost")
    parser.add_argument("--rounds", type=int, default=15, help="with --cost")
    args = parser.parse_args()
    if args.cost:
        cost(args)
        return
    compare(args)
    pictures(args)


if __name__ == "__main__":
    main()
