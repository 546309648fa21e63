"""Tables 3 to 7 of the Lagrangian paper and its F2B, for networks of equal accuracy.

python -m benchmarks.papers.lagrangian.analyses RUNS --table 3|4|5|6|7|f2b
    [--methods lagrangian pat …] [--examples=200] [--l2=0.5] [--linf=0.0157]
    [--alexnet=RUN]    [--suite=unseen_shapes|unseen_cifar]

  3    effective lambda at the budget --l2: mean and standard deviation over the images
       by the envelope theorem, beside a difference quotient, which checks it
  4    MPGD beside PGD in linf at --linf and twice that, each at the best of a grid of
       steps, which is chosen on the same images as the paper's was
  5    accuracy at three budgets of l2 and linf
  6    AutoAttack beside PGD; their gap is what a PGD number hides
  7    mean l2 norm of each attack, of the images that it attacked
  f2b  how much more the foreground is changed, with exact masks: the Lagrangian attack,
       which penalizes l2, beside Fast-LPA, which penalizes LPIPS

RUNS/METHOD/match.json names the runs of a method, as `jaxadv match` writes it; a star
marks methods whose clean accuracy is not the wanted one. Evaluations are kept in
RUN/eval and made once. Where there are several seeds, numbers are means of them ± their
standard deviation. The paper's numbers are of CIFAR-10 and other networks. Source: see
`benchmarks.papers.lagrangian.numbers`.
"""

import sys

import numpy as np

from benchmarks.papers.lagrangian import effective, measures, numbers
from benchmarks.papers.lagrangian.networks import (
    arguments,
    evaluated,
    left,
    load,
    methods,
)
from benchmarks.papers.minmax.figures import rank_correlation
from benchmarks.timing import interval, table
from jaxadv import checkpoints

PGD_STEPS = 40
NONE = "-"


def table_3(args):
    """The effective lambda of each network."""
    lines = []
    for method in methods(args.runs, args.methods):
        found = [_slopes(args, folder) for folder in method.folders]
        lines.append([
            method.title,
            _spread([f.envelope.mean() for f in found]),
            _spread([f.envelope.std() for f in found]),
            _spread([f.quotient.mean() for f in found]),
            _spread([rank_correlation(f.envelope, f.quotient) for f in found]),
            _spread([f.plain.mean() for f in found]),
            _spread([100 * f.held.mean() for f in found], 1),
            *_paper(numbers.TABLE_3.get(method.name), 2),
        ])  # fmt: skip
    print(
        f"effective lambda in an l2 ball of {args.l2:g}, {args.examples} test images, "
        "in nats of the cross-entropy by unit of l2\n"
    )
    header = ["trained", "mean", "std", "mean by quotient", "rank correlation of both"]
    header += ["mean without the box", "% of channels at 0 or 1"]
    table([*header, "paper: mean", "paper: std"], lines)


def _slopes(args, folder):
    model, data = load(folder, args.examples)
    given = {"steps": args.steps, "restarts": args.restarts, **_given(args)}
    return effective.effective_lambda(model, *data.rows, args.l2, **given)


def table_4(args):
    """MPGD beside PGD, at the best step of each."""
    best, every = [], []
    for method in methods(args.runs, args.methods):
        paper = numbers.TABLE_4["cifar10"].get(method.name)
        for which, eps in enumerate((args.linf, 2 * args.linf)):
            rates = [_rates(args, folder, eps) for folder in method.folders]
            chosen = [measures.at_best(r, measures.STEP_GRID) for r in rates]
            cells = [method.title, f"{255 * eps:g}/255"]
            for name in ("pgd", "mpgd"):
                low = [c[name][0] for c in chosen]
                steps = sorted({c[name][1] for c in chosen})
                cells += [interval(low, args.examples), " ".join(map(_digits, steps))]
                means = 100 * np.mean([r[name] for r in rates], axis=0)
                every.append([*cells[:2], name, *(f"{m:.1f}" for m in means)])
            best.append([*cells, *_paper(paper and paper[which], 2)])
    print(
        f"linf attacks of {PGD_STEPS} steps on {args.examples} test images, accuracy "
        "in %; steps, in units of eps, are the best on these very images\n"
    )
    table(["trained", "eps", "PGD", "its step", "MPGD", "its step", "paper: PGD",
           "paper: MPGD"], best)  # fmt: skip
    print("\nat each step\n")
    table(["trained", "eps", "attack", *map(_digits, measures.STEP_GRID)], every)


def _rates(args, folder, eps):
    model, data = load(folder, args.examples)
    return measures.mpgd_against_pgd(
        model, *data.rows, eps, steps=PGD_STEPS, seed=args.seed, batch_size=args.batch
    )


def table_5(args):
    """Accuracy at three budgets of each norm."""
    lines, budgets = [], []
    for method in methods(args.runs, args.methods):
        found = [_budgets(args, folder) for folder in method.folders]
        points = [
            p for norm in ("l2", "linf") for p in found[0]["sweeps"][norm]["points"]
        ]
        budgets = [f"{p['attack'].rsplit('_', 1)[0]} {p['eps']:.4g}" for p in points]
        lines.append([method.title, *(
            interval([f["attacks"][p["attack"]]["accuracy"] for f in found],
                     args.examples)
            for p in points
        )])  # fmt: skip
    print(f"PGD, {args.examples} test images, accuracy in %\n")
    table(["trained", *budgets], lines)
    print("\nthe paper's (reconstructed: four of its cells had left their rows)\n")
    table(["trained", "l2 0.75", "l2 1", "l2 1.25", "linf 6/255", "8/255", "10/255"], [
        [name, *(f"{v:.2f}" for part in row for v in part)]
        for name, row in numbers.TABLE_5.items()
    ])  # fmt: skip


def _budgets(args, folder):
    name = f"{args.suite}_budgets"
    return evaluated(folder, f"{args.suite}.py:budgets", name, [], args.examples)[0]


def table_6(args):
    """AutoAttack beside PGD at the middle budget of table 5."""
    lines = []
    for method in methods(args.runs, args.methods):
        paper = numbers.TABLE_6["cifar10"].get(method.name)
        for which, norm in enumerate(("linf", "l2")):
            pairs = np.array([_pair(args, f, norm) for f in method.folders])
            strong, weak = pairs.T
            lines.append([
                method.title, norm, interval(strong, args.examples),
                interval(weak, args.examples), f"{100 * np.mean(weak - strong):.1f}",
                *_paper(paper and paper[which], 2),
            ])  # fmt: skip
    print(f"{args.examples} test images, accuracy in %; AutoAttack {args.version}\n")
    header = ["trained", "norm", "AutoAttack", "PGD", "gap"]
    table([*header, "paper: AutoAttack", "paper: PGD"], lines)


def _pair(args, folder, norm):
    """Accuracies under AutoAttack and PGD of one run."""
    sweep = _budgets(args, folder)["sweeps"][norm]["points"]
    middle = sweep[len(sweep) // 2]
    report, _ = evaluated(
        folder, f"autoattack.py:{args.version},{norm}",
        f"autoattack_{args.version}_{norm}_{middle['eps']:.4g}",
        [f"--config.eps={middle['eps']}", "--checks=none"], args.examples,
    )  # fmt: skip
    whole = left(report)
    return whole["accuracy"], middle["accuracy"]


def table_7(args):
    """Mean l2 norm of each attack on each network."""
    lines, labels = [], []
    for method in methods(args.runs, args.methods):
        found = [_norms(args, folder) for folder in method.folders]
        labels = list(found[0])
        lines.append([method.title, *(_spread([f[k] for f in found]) for k in labels)])
    known = [numbers.TABLE_7.get(label) for label in labels]
    lines.append(
        ["paper's lagrangian", *(cell for k in known for cell in _paper(k, 1))]
    )
    print(f"mean l2 norm, {args.examples} test images\n")
    table(["trained", *labels], lines)


def _norms(args, folder):
    suite, flags = f"{args.suite}.py:no_alexnet", ["--config.distances.l2.name=l2"]
    if args.alexnet:
        suite = f"{args.suite}.py"
        flags.append(f"--config.attacks.lpa.threat.network.path={args.alexnet}")
    name = suite.replace(".py:", "_").removesuffix(".py")
    stored = evaluated(folder, suite, name, flags, args.examples)[1]
    model, data = load(folder, args.examples)
    attack = attacks(args)["lagrangian"]
    delta = measures.perturbations(attack, model, *data.rows, **_given(args))
    return {"lagrangian": measures.norms(delta).mean(), **measures.mean_norms(stored)}


def f2b(args):
    """F2B of the two kinds of penalty, with the exact masks of the set."""
    lines = []
    for method in methods(args.runs, args.methods):
        for name, penalty in (("lagrangian", "l2"), ("Fast-LPA", "lpips")):
            found = [_ratios(args, folder, name) for folder in method.folders]
            counts = [sum(f[k] for f in found) for k in ("infinite", "undefined")]
            lines.append([
                method.title, name, _spread([f["mean"] for f in found]),
                *map(str, counts), *_paper(numbers.F2B["cifar10"][penalty], 1),
            ])  # fmt: skip
    print(f"F2B, mean of the images where it is finite; {args.examples} test images\n")
    table(["trained", "attack", "F2B", "infinite", "undefined", "paper"], lines)


def _ratios(args, folder, name):
    model, data = load(folder, args.examples)
    if data.mask is None:
        raise SystemExit(f"{folder}: its data set has no foreground masks; shapes has")
    attack = attacks(args)[name]
    delta = measures.perturbations(attack, model, *data.rows, **_given(args))
    return measures.f2b_summary(measures.f2b(delta, data.mask))


def attacks(args):
    """The four attacks of figure 2, as the flags say."""
    network = args.alexnet and checkpoints.load_classifier(args.alexnet)[0]
    return measures.training_attacks(
        l2=args.l2, linf=args.linf, lam=args.lam, step_size=args.step_size,
        deviation=args.deviation,
        lpips=args.lpips, network=network or None,
    )  # fmt: skip


def _given(args):
    return {"seed": args.seed, "batch_size": args.batch}


def _spread(values, digits=2):
    """Mean of the seeds, ± their deviation."""
    spread = f" ± {np.std(values):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def _paper(row, count):
    """Cells of the paper's numbers, dashes where it has none."""
    if row is None:
        return [NONE] * count
    return [f"{value:.2f}" for value in np.atleast_1d(row)]


def _digits(value):
    return f"{value:g}"


TABLES = {
    "3": table_3, "4": table_4, "5": table_5, "6": table_6, "7": table_7, "f2b": f2b
}  # fmt: skip


def main():
    parser = arguments(__doc__)
    parser.add_argument("--table", choices=TABLES, required=True)
    parser.add_argument("--restarts", type=int, default=3, help="of table 3")
    parser.add_argument("--steps", type=int, default=60, help="of table 3")
    parser.add_argument("--suite", default="unseen_shapes", help="of tables 5 to 7")
    parser.add_argument("--version", default="standard", help="of AutoAttack")
    args = parser.parse_args()
    print(f"`python -m benchmarks.papers.lagrangian.analyses {' '.join(sys.argv[1:])}`")
    TABLES[args.table](args)


if __name__ == "__main__":
    main()
