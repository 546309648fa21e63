"""Min-max against average attacks on digits: tables 1a, A4, 2, 3, A5, A6; the cost.

python -m benchmarks.minmax RUNS --table 1a|A4|2|3|A5|A6|cost [--seeds 0 1 2]
    [--networks mlp lenet] [--examples=200] [--data=mnist|fashion_mnist] [--keep=best]

RUNS/mnist5k, or that of another data set, holds the folders mlp, all_cnn, lenet and
lenet_v2 of trained networks, which are trained where they are missing
(configs/mnist5k_minmax.py). Prints a Markdown table with the paper's numbers, of 10,000
digits or of CIFAR-10, beside ours. Finished attacks are kept in the folder `attacks`
beside the networks, so a stopped run goes on. As in the paper the last point of an
attack counts, with `--keep=best` the most broken one. MNIST and Fashion-MNIST, with all
their 60,000 and 10,000 images, are prepared as the README says. Source: Wang, Zhang,
Liu, Chen, Xu, Fardad and Li, "Adversarial Attack Generation Empowered by Min-Max
Optimization", 2021.
"""

import argparse
import functools
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.timing import alternate, ratio, table
from jaxadv import checkpoints, transforms
from jaxadv.attacks import MinMax
from jaxadv.craft import Crafter, craft, craft_batches
from jaxadv.data import sources
from jaxadv.domains import Images, Transforms, Weighted, groups
from jaxadv.evaluation import domains
from jaxadv.objectives import Margin
from jaxadv.threats import L0, L1, L2, Linf, Shared

DATA = ("mnist5k", "mnist", "fashion_mnist")
NETWORKS = ("mlp", "all_cnn", "lenet", "lenet_v2")
# name -> ball, alpha, beta, gamma, the paper's ASR_all of the average and of min-max
NORMS = {
    "l0": (L0(30.0), 1.0, 1 / 100, 7.0, 84.03, 91.97),
    "l1": (L1(20.0), 1 / 4, 1 / 100, 5.0, 69.31, 89.16),
    "l2": (L2(3.0), 1 / 10, 1 / 100, 3.0, 69.12, 95.31),
    "linf": (Linf(0.2), 1 / 4, 1 / 50, 3.0, 48.17, 90.16),
}
# Table A4: name -> weights and kappa of the fixed weightings, and the paper's ASR_all.
STATIC = {"l2": (0.209, 0.046, 0.495, 0.250), "linf": (0.080, 0.076, 0.541, 0.303)}
HEURISTICS = {
    "c+d": (0.0, 0.0, 0.5, 0.5),
    "a+c+d": (1 / 3, 0.0, 1 / 3, 1 / 3),
    "prior": (0.2, 0.1, 0.4, 0.3),
}
PAPER_A4 = {
    ("l2", "c+d"): 28.65, ("l2", "a+c+d"): 67.45, ("l2", "clip"): 85.33,
    ("l2", "prior"): 88.25, ("l2", "static"): 90.53,
    ("linf", "c+d"): 29.32, ("linf", "a+c+d"): 53.39, ("linf", "clip"): 71.54,
    ("linf", "prior"): 74.34, ("linf", "static"): 77.84,
}  # fmt: skip
EPS = {"mlp": 0.2, "all_cnn": 0.2, "lenet": 0.3, "lenet_v2": 0.25}
# Table 2 on MNIST: ASR_gp of the average and of min-max for K = 2, 4, 5, 10.
SIZES = (2, 4, 5, 10)
PAPER_2 = {
    "mlp": ((94.48, 96.96), (56.64, 72.32), (38.05, 53.70), (3.50, 6.70)),
    "all_cnn": ((95.52, 99.38), (51.92, 75.64), (31.25, 53.50), (2.10, 4.30)),
    "lenet": ((89.96, 94.58), (28.72, 36.72), (19.15, 25.80), (4.30, 7.20)),
    "lenet_v2": ((90.04, 95.68), (26.60, 35.52), (17.05, 21.05), (4.80, 7.10)),
}
# table -> transformations, and ASR_gp on CIFAR-10 at eps 0.03.
VIEWS = {
    "3": (transforms.deterministic(), {
        "mlp": (55.88, 60.03), "all_cnn": (72.21, 77.43),
        "lenet": (56.51, 63.58), "lenet_v2": (61.13, 67.49),
    }),
    "A5": (transforms.stochastic()[:5], {
        "mlp": (55.97, 59.17), "all_cnn": (69.52, 71.18),
        "lenet": (58.85, 61.63), "lenet_v2": (60.96, 63.64),
    }),
    "A6": (transforms.deterministic(7), {
        "mlp": (49.24, 52.31), "all_cnn": (65.18, 70.38),
        "lenet": (49.67, 55.37), "lenet_v2": (53.52, 57.36),
    }),
}  # fmt: skip


class Bench:
    """Networks, test digits, and the cells that are computed once."""

    def __init__(self, args):
        runs = args.runs / args.data
        self.folder, self.seeds = runs / "attacks" / args.keep, args.seeds
        self.keep, self.seconds = args.keep, 0.0
        self.crafter = Crafter()
        self.models = {n: _network(runs / n, n, args) for n in args.networks}
        source = sources.load(args.data, "test")
        default = 200 if args.data == "mnist5k" else len(source)
        rows = source.get(np.arange(args.examples or default))
        self.images = np.asarray(rows["image"], np.float32) / 255
        self.labels = np.asarray(rows["label"], np.int32)

    def rates(self, name, attack, model, size=None):
        """[seeds, K + 2]: accuracies, ASR_all and ASR_avg, all in percent."""
        found = []
        for seed in self.seeds:
            broken = self._cell(f"{name}_s{seed}", attack, model, size, seed)
            parts = [*domains.accuracies(broken), domains.asr_all(broken)]
            found.append([*parts, domains.asr_avg(broken)])
        return 100 * np.array(found)

    def _cell(self, name, attack, model, size, seed):
        attack = attack.replace(keep=self.keep)
        path = self.folder / f"{name}_n{len(self.images)}.npz"
        if not path.exists():
            start = time.monotonic()
            rows = np.arange(len(self.images))
            if size:
                rows = groups(self.labels, size, seed)
            key, labels = jax.random.key(seed), self.labels[rows]
            adv = craft_batches(
                attack, model, key, self.images[rows], labels,
                batch_size=25, crafter=self.crafter,
            )  # fmt: skip
            broken = domains.broken(attack.objective, model, key, adv.image, labels)
            path.parent.mkdir(parents=True, exist_ok=True)
            seconds = time.monotonic() - start
            partial = path.with_name(f"partial_{path.name}")
            np.savez(partial, broken=broken, seconds=seconds)
            partial.replace(path)  # a killed run leaves no half-written cell
            rate = 100 * domains.asr_all(broken)
            print(f"{name}: {rate:.1f} % in {seconds:.0f} s", file=sys.stderr)
        found = np.load(path)
        self.seconds += float(found["seconds"])
        return found["broken"]


def _network(folder, name, args):
    # train.py goes on with a run that was stopped and leaves a finished one alone.
    subprocess.run(
        [
            sys.executable, "train.py", "--config=configs/mnist5k_minmax.py",
            f"--workdir={folder}", f"--config.model.name={name}",
            f"--config.data.name={args.data}", f"--config.epochs={args.epochs}",
        ],
        check=True,
        stdout=sys.stderr,
    )  # fmt: skip
    return checkpoints.load_classifier(folder, "last")[0]


def attack_of(threat, over=None, kappa=50.0, weights=None, **fields):
    """The paper's attack, with each network's own predictions as targets."""
    parts = {} if over is None else {"over": over}
    objective = Weighted(
        objective=Margin(kappa), targets="prediction", weights=weights, **parts
    )
    return MinMax(threat, objective, **fields)


def mean(values):
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def lift(rates, average):
    if not np.mean(average):
        return "-"
    return f"{100 * domains.lift(np.mean(rates), np.mean(average)):+.1f} %"


def table_of_ensembles(which, bench):
    """Ensembles of four networks; in A4 with fixed weightings between the two."""
    models, lines = tuple(bench.models.values()), []
    for norm, (ball, alpha, beta, gamma, *paper) in NORMS.items():
        if which == "A4" and norm not in STATIC:
            continue
        numbers = dict(steps=50, step_size=alpha, weight_step_size=beta, gamma=gamma)
        equal = (1 / 4,) * 4
        contenders = {"average": attack_of(ball, weights=equal, fixed=True, **numbers)}
        if which == "A4":
            for name, weights in (*HEURISTICS.items(), ("static", STATIC[norm])):
                contenders[name] = attack_of(
                    ball, weights=weights, fixed=True, **numbers
                )
            contenders["clip"] = attack_of(
                ball, weights=equal, kappa=10.0, fixed=True, **numbers
            )
        contenders["min-max"] = attack_of(ball, **numbers)
        printed = {"average": paper[0], "min-max": paper[1]}
        average = None
        for name, attack in contenders.items():
            rates = bench.rates(f"1a_{norm}_{name}", attack, models)
            rate = rates[:, -2]
            average = rate if average is None else average
            known = printed.get(name, PAPER_A4.get((norm, name)))
            others = "-", "-"
            if known is not None:
                others = f"{known:.2f}", lift(known, printed["average"])
            accuracies = [f"{v:.1f}" for v in rates[:, :4].mean(0)]
            row = mean(rate), lift(rate, average), *others
            lines.append([norm, name, *accuracies, *row])
    header = [f"Acc {name}" for name in NETWORKS]
    table(
        ["norm", "weights", *header, "ASR_all", "lift", "paper", "paper's lift"], lines
    )


def _pair(bench, name, model, size, threat, over, numbers, paper):
    average, free = (
        bench.rates(f"{name}_{kind}", attack_of(threat, over, fixed=fixed, **numbers),
                    model, size)
        for kind, fixed in (("average", True), ("min-max", False))
    )  # fmt: skip
    cells = [mean(average[:, -2]), mean(free[:, -2])]
    cells += [lift(free[:, -2], average[:, -2]), mean(average[:, -1])]
    cells += [mean(free[:, -1]), f"{paper[0]:.2f}", f"{paper[1]:.2f}"]
    return [*cells, lift(paper[1], paper[0])]


PAIR = [
    "ASR_gp average", "ASR_gp min-max", "lift", "ASR_avg average", "ASR_avg min-max",
    "paper average", "paper min-max", "paper's lift",
]  # fmt: skip


def table_2(bench):
    """One linf perturbation for K random digits."""
    numbers: dict[str, Any] = dict(
        steps=20, step_size=1 / 6, weight_step_size=1 / 50, gamma=4.0, start="zero"
    )
    lines = []
    for name, model in bench.models.items():
        threat = Shared(Linf(EPS[name]))
        for size, paper in zip(SIZES, PAPER_2[name], strict=True):
            cell = f"2_{name}_k{size}"
            row = _pair(bench, cell, model, size, threat, Images(), numbers, paper)
            lines.append([name, str(size), *row])
    table(["network", "K", *PAIR], lines)


def table_of_views(which, bench):
    """Transformations of a digit; the paper's numbers are of CIFAR-10."""
    numbers = dict(steps=20, step_size=1 / 2, weight_step_size=1 / 100, gamma=10.0)
    lines, (parts, paper) = [], VIEWS[which]
    for name, model in bench.models.items():
        threat = Linf(EPS[name])
        row = _pair(bench, f"{which}_{name}", model, None, threat, Transforms(parts),
                    numbers, paper[name])  # fmt: skip
        lines.append([name, *row])
    table(["network", *PAIR], lines)


def table_cost(bench):
    """Ten steps against an ensemble beside ten bare passes of each of its networks."""
    models, steps = tuple(bench.models.values()), 10
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
    names = ", ".join(bench.models)
    table(["networks", "10 passes of each", "MinMax-10 / these"], [[names, each, cost]])


TABLES = {
    **{which: functools.partial(table_of_ensembles, which) for which in ("1a", "A4")},
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
    parser.add_argument("--epochs", type=int, default=30, help="of the networks")
    parser.add_argument("--keep", choices=("last", "best"), default="last")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    return parser


def main():
    parser = arguments(__doc__)
    parser.add_argument("--table", choices=TABLES, required=True)
    args = parser.parse_args()
    if args.table in ("1a", "A4") and tuple(args.networks) != NETWORKS:
        parser.error(f"--table {args.table} takes all four; leave --networks away")
    bench = Bench(args)
    command = f"python -m benchmarks.minmax {' '.join(sys.argv[1:])}"
    print(
        f"`{command}`: {len(bench.images)} images, seeds {args.seeds}, mean ± deviation"
    )
    TABLES[args.table](bench)
    print(f"{bench.seconds:.0f} s of attacks")


if __name__ == "__main__":
    main()
