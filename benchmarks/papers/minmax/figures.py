"""Pictures of min-max attacks: figures 1, 2 and A1, tables A9 and A10 of the paper.

python -m benchmarks.papers.minmax.figures RUNS --figure 1|2|A1|A9
    [--networks mlp lenet] [--examples=200] [--data=mnist|fashion_mnist|cifar10]

  1    ensemble: success per network over the steps, average and min-max, and boxes of
       the weights
  2    ensemble: success in all networks over linf eps
  A1   ensemble: the same over gamma
  A9   five images of one class, that the network gets right, under one perturbation:
       weights in four norms beside each one's Carlini-Wagner l2 distance and smallest
       linf eps

The ensemble is that of `--networks`, the one of table 1 by default; A9 takes the first.
Networks and finished attacks are kept as `benchmarks.papers.minmax.tables` does;
pictures go to RUNS/DATA/pictures, from the first of the seeds. Source: see
`benchmarks.papers.minmax.numbers`.
"""

import jax
import numpy as np
import scipy.stats

from benchmarks.papers.minmax.bench import CHUNK, Bench, histories
from benchmarks.papers.minmax.tables import arguments, attack_of
from benchmarks.timing import table
from jaxadv.attacks import Ascent, CarliniWagner
from jaxadv.craft import craft_batches
from jaxadv.evaluation.metrics import domains
from jaxadv.evaluation.report import domain_charts
from jaxadv.objectives import Margin
from jaxadv.objectives.domains import Images, groups
from jaxadv.threats import L2, Linf, Shared

ITERATIONS = (1, 2, 5, 10, 20, 30, 50)
GAMMAS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)
GROUP = 5


def linf_attack(bench, **fields):
    """The attack of the linf row of table 1, with other fields where they are given."""
    row = bench.paper.main[1]["linf"]
    return attack_of(**{"threat": row.threat, **row.numbers, **fields})


def ensemble(bench):
    """Names and networks of the ensemble that the figures are about."""
    models = bench.models(bench.args.networks or bench.paper.main[0])
    return list(models), tuple(models.values())


def figure_1(bench, folder):
    """Success per network over the steps, and the weights on the way."""
    names, models = ensemble(bench)
    for title, fixed in (("average", True), ("min-max", False)):
        rows = []
        for steps in ITERATIONS:
            attack = linf_attack(bench, steps=steps, fixed=fixed)
            name = f"f1_{'+'.join(names)}_{title}_{steps}"
            rows.append(bench.rates(name, attack, models)[0, :-1] / 100)
        *right, whole = np.transpose(rows)
        rates = {name: 1 - part for name, part in zip(names, right, strict=True)}
        domain_charts.curves(
            ITERATIONS, rates | {"all": whole}, folder / f"figure_1_{title}.png",
            axis="iterations", title=f"ensemble attack, {title}",
            measure="attack success rate",
        )  # fmt: skip
    attack, key = linf_attack(bench), jax.random.key(0)
    history = histories(attack, models, bench.images, bench.labels, key)
    ticks = [0, *ITERATIONS]
    domain_charts.weights(
        history[:, ticks], names, folder / "figure_1_weights.png",
        title="weights of min-max", ticks=ticks,
    )  # fmt: skip
    means = map(cell, history[:, -1].mean(0))
    table(["network", "mean weight at the end"], list(zip(names, means, strict=True)))


def figure_2(bench, folder):
    """Success in all networks over eps."""
    _over(bench, folder, "figure_2", "linf eps", {
        eps: {"average": linf_attack(bench, threat=Linf(eps), fixed=True),
              "min-max": linf_attack(bench, threat=Linf(eps))}
        for eps in bench.paper.budgets
    })  # fmt: skip


def figure_a1(bench, folder):
    """Success in all networks over gamma; that of the average does not depend on it."""
    average = linf_attack(bench, fixed=True)
    _over(bench, folder, "figure_A1", "gamma", {
        gamma: {"average": average, "min-max": linf_attack(bench, gamma=gamma)}
        for gamma in GAMMAS
    })  # fmt: skip


def _over(bench, folder, figure, axis, attacks):
    names, models = ensemble(bench)
    joined, rates = "+".join(names), {}
    for pair in attacks.values():
        for name, attack in pair.items():
            eps, gamma = float(attack.threat.eps), float(attack.gamma)
            cell_name = f"f_{joined}_{name}_{eps:g}_{gamma:g}"
            whole = bench.rates(cell_name, attack, models)[0, -2] / 100
            rates.setdefault(name, []).append(whole)
    domain_charts.curves(
        list(attacks), rates, folder / f"{figure}.png", axis=axis,
        title=f"ensemble of {joined}", measure="ASR of all networks",
    )  # fmt: skip
    table([axis, *rates], [
        [f"{x:g}", *(f"{100 * r:.1f}" for r in row)]
        for x, row in zip(attacks, zip(*rates.values(), strict=True), strict=True)
    ])  # fmt: skip


def tables_a9(bench, folder):
    """Weights of a group's digits beside what it takes to break each alone."""
    name = (bench.args.networks or tuple(bench.paper.eps))[0]
    model = bench.model(name)
    right = np.flatnonzero(bench.predictions(model) == bench.labels)
    rows = right[groups(bench.labels[right], GROUP, by_class=True)]
    _, first = np.unique(bench.labels[rows[:, 0]], return_index=True)
    rows = rows[first]
    images, labels = bench.images[rows], bench.labels[rows]
    columns = {}
    for norm, row in bench.paper.main[1].items():
        own = norm == "linf" and bench.paper.eps.get(name)
        ball = Linf(own) if own else row.threat
        attack = attack_of(Shared(ball), Images(), start="zero", **row.numbers)
        history = histories(attack, model, images, labels, jax.random.key(0))
        columns[f"w {norm}"] = history[:, -1]
    alone, targets = images.reshape(-1, *images.shape[2:]), labels.reshape(-1)
    key = jax.random.key(0)
    smallest = CarliniWagner(L2(28.0), round_steps=300)
    found = craft_batches(smallest, model, key, alone, targets, batch_size=CHUNK)
    columns["C&W l2"] = np.asarray(found.size).reshape(labels.shape)
    attack = Ascent(Linf(0.1), Margin(), steps=40, rel_step_size=0.1)
    eps = domains.smallest_eps(
        attack, model, key, alone, targets, 0.5, batch_size=CHUNK
    )
    columns["eps linf"] = eps.reshape(labels.shape)
    for which, part in (("A9", labels[:, 0] < 5), ("A10", labels[:, 0] >= 5)):
        if not part.any():  # no class fills a group
            continue
        domain_charts.image_robustness(
            images[part], {k: v[part] for k, v in columns.items()},
            folder / f"table_{which}.png",
            title=f"{name}: weights of digits under one perturbation",
        )  # fmt: skip
    distance, eps = columns["C&W l2"].ravel(), columns["eps linf"].ravel()
    table(["weights", "rank correlation with C&W l2", "with eps linf"], [
        [norm, *(cell(rank_correlation(columns[f"w {norm}"].ravel(), other))
                 for other in (distance, eps))]
        for norm in bench.paper.main[1]
    ])  # fmt: skip


def rank_correlation(a, b):
    """Spearman's, NaN where either is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return scipy.stats.spearmanr(a, b)[0]


def cell(value):
    return f"{value:.3f}"


FIGURES = {"1": figure_1, "2": figure_2, "A1": figure_a1, "A9": tables_a9}


def main():
    parser = arguments(__doc__)
    parser.add_argument("--figure", choices=FIGURES, required=True)
    args = parser.parse_args()
    folder = args.runs / args.data / "pictures"
    args.seeds = args.seeds[:1]
    FIGURES[args.figure](Bench(args), folder)
    print(f"Pictures: {folder}")


if __name__ == "__main__":
    main()
