"""Tables 1 and 2 of Learn2Perturb's paper, judged so that luck does not count.

python -m benchmarks.papers.learn2perturb.tables RUNS
    --table attacks|eot|pixels|transfer [--data=shapes|cifar10|cifar100] [--seeds 0 1 2]
    [--methods vanilla l2p …] [--eval=--config.examples=100 …]
    [--train --config.epochs=12 …]

  attacks   accuracy without an attack, under FGSM, PGD and AutoAttack's `rand`
  eot       PGD over the draws that each step averages over, and without noise
  pixels    one, two and three pixels by differential evolution
  transfer  each network on the images that break the others (PGD over 16 draws)

Trains and judges what is not there yet. A random network is judged by its mean
prediction over 20 draws, at images of attacks that average over draws. Two deviations
are told, in percent: over seeds, of the mean predictions; and ("one draw") from one
evaluation to the next, of single predictions, which is what the paper's ± is of, as the
mean over seeds. Source: Jeddi et al., "Learn2Perturb", 2020, tables 1 and 2.
"""

import statistics
import subprocess
import sys

from benchmarks.papers.lagrangian.networks import evaluated, left
from benchmarks.papers.learn2perturb.networks import METHODS, arguments, trained
from benchmarks.timing import table
from jaxadv.evaluation import metrics

EOT = ("pgd_eot01", "pgd_eot04", "pgd_eot16", "pgd_eot64", "pgd_mean")


# Each table returns how many images it is of.


def attacks(args):
    """Accuracy under gradients, by the mean of the draws and by one draw."""
    columns, lines = ("fgsm", "pgd_eot01", "pgd_eot16"), []
    for method in args.methods:
        folders = _runs(args, method)
        found = [_gradients(args, folder) for folder in folders]
        strong = [
            left(evaluated(f, "autoattack.py:rand", "rand", args.eval)[0])["accuracy"]
            for f in folders
        ]
        cells = [_cell([one["clean"]["accuracy"] for one in found])]
        for column in columns:
            cells.append(_cell([_under(one, column) for one in found]))
        lines.append([METHODS[method], *cells, _cell(strong), _single(found)])
    titles = ("clean", "FGSM, 16", "PGD, 1", "PGD, 16", "AutoAttack rand")
    table(["trained", *titles, "one draw, PGD, 1"], lines)
    return found[0]["clean"]["n"]


def eot(args):
    """PGD over the draws of a step."""
    lines = []
    for method in args.methods:
        found = [_gradients(args, folder) for folder in _runs(args, method)]
        cells = [_cell([_under(one, label) for one in found]) for label in EOT]
        lines.append([METHODS[method], *cells])
    draws = ("1 draw", "4 draws", "16 draws", "64 draws", "no noise")
    table(["trained", *draws], lines)
    return found[0]["clean"]["n"]


def pixels(args):
    """Few pixels."""
    labels, lines = [f"pixels_{k}" for k in (1, 2, 3)], []
    for method in args.methods:
        flags = [*args.eval, *([] if _noisy(method) else ["--config.draws=1"])]
        found = [
            evaluated(folder, "noisy.py:pixels", "pixels", flags)[0]
            for folder in _runs(args, method)
        ]
        cells = [
            _cell([one["attacks"][k]["accuracy"] for one in found]) for k in labels
        ]
        lines.append([METHODS[method], *cells])
    table(["trained", "1 pixel", "2 pixels", "3 pixels"], lines)
    return found[0]["clean"]["n"]


def transfer(args):
    """Accuracy of the rows' networks on images made on the columns'; first seed."""
    folders = {m: _runs(args, m)[0] for m in args.methods}
    results = []
    for method, folder in folders.items():
        where = folder / "eval" / "transfer"
        if not (where / "adversarial.npz").exists():
            _run(
                "eval", "--config=configs/suites/noisy.py:transfer",
                f"--checkpoint={folder}", f"--workdir={where}", "--save_images",
                *args.eval, *([] if _noisy(method) else ["--config.draws=1"]),
            )  # fmt: skip
        results.append(str(where))
    _run("transfer", f"--output={args.runs / 'transfer'}", *results)


def _gradients(args, folder):
    method = folder.name.partition(",")[0]
    suite = "noisy.py" if _noisy(method) else "noisy.py:plain"
    return evaluated(folder, suite, "noisy", args.eval)[0]


def _under(report, label):
    """The accuracy under an attack; without noise all PGD are one."""
    found = report["attacks"]
    return found[label if label in found else "pgd"]["accuracy"]


def _noisy(method):
    return method != "vanilla"


def _single(found):
    """Accuracy of one draw ± its deviation over repetitions, means over seeds."""
    own = [one["draws"]["attacks"]["pgd_eot01"] for one in found if one.get("draws")]
    if not own:
        return "-"
    means = (statistics.fmean(one[k] for one in own) for k in ("single", "deviation"))
    return " ± ".join(f"{100 * mean:.1f}" for mean in means)


def _cell(values):
    if not values:
        return "-"
    mean = f"{100 * statistics.fmean(values):.1f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {100 * statistics.stdev(values):.1f}"


def _runs(args, method):
    return trained(method, args.seeds, args.runs, args.data, args.flags)


def _run(*command):
    if subprocess.run([sys.executable, "-m", "jaxadv", *command]).returncode:
        sys.exit(f"jaxadv {' '.join(command)} failed")


TABLES = {one.__name__: one for one in (attacks, eot, pixels, transfer)}


def main():
    parser = arguments(__doc__, "table", TABLES)
    parser.add_argument("--eval", default=[], action="append", help="flag of the suite")
    args = parser.parse_args()
    n = TABLES[args.table](args)
    if n:
        low, high = metrics.wilson(n // 2, n)
        print(
            f"\n{n} test images: an accuracy of 50 % is known to ± "
            f"{50 * (high - low):.1f} from one seed"
        )


if __name__ == "__main__":
    main()
