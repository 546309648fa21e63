"""The command `jaxadv match`.

jaxadv match configs/baselines/shapes_pgd_at.py --workdir=runs/at --target=0.9 \\
    --budget=attack.threat.eps=2/255,8/255 --seeds=0,1,2
"""

import dataclasses
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxadv import checkpoints, console
from jaxadv.evaluation import metrics
from jaxadv.evaluation.writing import escape, files
from jaxadv.evaluation.writing.cells import aligned, percent
from jaxadv.specs import UsageError
from jaxadv.sweep import budgets, flags, grid, plans, steps

NOT_MATCHED = 1
_ROUNDING = 1e-9  # 0.91 is within 0.01 of 0.9
_FAR = 8.0  # tolerances from the target, beyond which one seed says enough
ABOUT = """\
Trains a config at several budgets until its clean accuracy is a wanted one, so that
methods can be compared at equal clean accuracy. The accuracy is that of the best
checkpoint on held-out training images (config.data.validation of them), never on test
images, as a mean over the seeds.

The search begins at the two ends of --budget and goes on between the two trials around
the target, or beyond an end. It stops within --tolerance, or after --trials. A trial
whose first seed is more than eight tolerances off is not trained with the others. The
same command goes on where a killed one stopped, trains nothing twice, and with more
--trials goes on searching. What was found is in WORKDIR/match.csv and match.json.

  jaxadv match configs/baselines/shapes_pgd_at.py --workdir=runs/at --target=0.9 \\
      --budget=attack.threat.eps=2/255,8/255 --seeds=0,1,2

Several --budget move together, each between its own ends. All trainings of a budget are
in folders of their own in WORKDIR; evaluate them with jaxadv eval --checkpoint=FOLDER.
"""
OWN = """\
further flags:
  --config.FIELD=VALUE   of the training config, for all trainings
  --cpu_devices=N        of the trainings
"""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is searched for.

    Attributes:
      request: what is trained, but for the budget.
      budget: what is moved.
      target: the clean accuracy, a fraction.
      tolerance: how far from it a mean may be, a fraction.
      trials: how many budgets are tried at most.
    """

    request: plans.Request
    budget: budgets.Budget
    target: float
    tolerance: float
    trials: int

    @property
    def rule(self) -> str:
        """The rule of the comparison, for everything that is printed."""
        return budgets.RULE.format(
            target=100 * self.target, tolerance=100 * self.tolerance
        )

    @property
    def far(self) -> float:
        """How far from the target, a fraction, one seed is enough of a trial."""
        return _FAR * self.tolerance

    def fits(self, trial: budgets.Trial) -> bool:
        """Whether a trial is near enough."""
        return abs(trial.mean - self.target) <= self.tolerance + _ROUNDING

    def plan(self, share: float) -> list[plans.Combination]:
        """The trainings at a share of the budget, one a seed."""
        at = self.budget.at(share)
        axes = [grid.Axis(path, (value,)) for path, value in at.items()]
        return plans.plan(dataclasses.replace(self.request, axes=axes))


@dataclasses.dataclass(frozen=True)
class Found:
    """Where a search has ended.

    Attributes:
      trials: in the order of the search.
      failed: a line for each training that failed.
    """

    trials: list[budgets.Trial]
    failed: list[str]


def search(wanted: Wanted, run=None, read=None, show=print) -> Found:
    """Trains at one budget after the other; see `ABOUT`.

    Args:
      wanted: what is searched for.
      run: default: `steps.run`.
      read: clean accuracy of a finished training; default: its best checkpoint's.
      show: is told the progress.

    Raises:
      UsageError: a training cannot be run, or holds no images out.
    """
    run, read = run or steps.run, read or clean_accuracy
    trials: list[budgets.Trial] = []
    while len(trials) < wanted.trials:
        share = budgets.following(trials, wanted.target)
        combinations = wanted.plan(share)
        at = grid.shown(combinations[0].point)
        show(f"trial {len(trials) + 1} of at most {wanted.trials}: {at}")
        clean = {}
        for some in (combinations[:1], combinations[1:]):
            failed = run(some, show=show, todo=steps.left_to_train)
            if failed:
                return Found(trials, failed)
            clean |= {one.seed: read(one) for one in some}
            if abs(budgets.Trial(share, clean).mean - wanted.target) > wanted.far:
                break
        trials.append(budgets.Trial(share, clean))
        show(f"{at}: clean {percent(trials[-1].mean)} %, {len(clean)} seeds")
        if wanted.fits(trials[-1]):
            break
    return Found(trials, [])


def clean_accuracy(one: plans.Combination) -> float:
    """Of a training's best checkpoint, on its held-out images.

    Raises:
      UsageError: it held none out.
    """
    noted = (checkpoints.notes(one.folder, "best") or {}).get("clean")
    if noted is None:
        raise UsageError(
            f"{one.folder} has no clean validation accuracy; hold images out with "
            "--config.data.validation=500"
        )
    return noted


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit status 1 where nothing matches or a training fails."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked, others = _parser().parse_known_args(given)

    def work():
        # The processes of the trainings need the accelerator, with all its memory.
        jax.config.update("jax_platforms", "cpu")
        wanted = _wanted(asked, others)
        found = search(wanted, show=flags.show)
        for line in found.failed:
            print(f"error: {escape.line(line)}", file=sys.stderr)
        if found.trials:
            _tell(wanted, found)
        matched = found.trials and wanted.fits(_chosen(wanted, found))
        return 0 if matched and not found.failed else NOT_MATCHED

    return console.conclude(work, "the same command goes on from here")


def _parser():
    parser = flags.parser("match", ABOUT, OWN)
    parser.add_argument(
        "--budget",
        action="append",
        default=[],
        metavar="FIELD=LOW,HIGH",
        help="a field and two values to begin with; several move together",
    )
    parser.add_argument(
        "--target", required=True, help="the wanted clean accuracy, as 0.8"
    )
    parser.add_argument(
        "--tolerance", default="0.01", help="how far from it (default: 0.01, a point)"
    )
    parser.add_argument(
        "--trials", default="6", help="budgets that are tried at most (default: 6)"
    )
    return parser


def _wanted(asked, others) -> Wanted:
    groups = flags.grouped(others, ("config",), "match")
    trials = _within("--trials", asked.trials, 2, 1000)
    if trials != int(trials):
        raise UsageError(f"--trials is {asked.trials}; it must be a whole number")
    request = plans.Request(
        config=asked.config,
        root=asked.workdir,
        seeds=None if asked.seeds is None else grid.seeds(asked.seeds),
        training=groups["config"],
        suite=None,
        devices=groups["cpu_devices"],
        flag="--budget",
    )
    return Wanted(
        request,
        budgets.budget(asked.budget),
        _within("--target", asked.target, 0, 1),
        _within("--tolerance", asked.tolerance, 0, 1),
        int(trials),
    )


def _within(flag, text, low, high):
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise UsageError(f"{flag} is {text!r}; it must be a number in [{low}, {high}]")
    return value


def _chosen(wanted, found):
    """The nearest trial of those with all seeds; where none has, of all."""
    whole = max(len(trial.clean) for trial in found.trials)
    trials = [trial for trial in found.trials if len(trial.clean) == whole]
    return budgets.nearest(trials, wanted.target)


def _tell(wanted, found):
    """The table of the trials, and what to do with the one that is chosen."""
    chosen = _chosen(wanted, found)
    combinations = [c for c in wanted.plan(chosen.share) if c.seed in chosen.clean]
    held_out = combinations[0].training["data"]["validation"]
    titles = (*wanted.budget.ends, "clean", "off", "seeds", "")
    lines: list[tuple[str, ...]] = [titles]
    for trial in sorted(found.trials, key=lambda trial: trial.share):
        mark = "chosen" if trial is chosen else ""
        lines.append(tuple(map(str, (*_cells(wanted, trial), mark))))
    root = Path(wanted.request.root)
    paths = [root / "match.csv", root / "match.json"]
    files.write_csv(paths[0], lines)
    folders = [str(one.folder) for one in combinations]
    files.write_json(paths[1], _plain(wanted, found, chosen, folders))
    print("\n".join(["", *aligned(lines)]))
    print(f"rule: {wanted.rule}")
    low, high = metrics.wilson(round(chosen.mean * held_out), held_out)
    print(
        f"{held_out} held-out images: an accuracy of {percent(chosen.mean)} % is known "
        f"to [{percent(low)}, {percent(high)}] %"
    )
    if not wanted.fits(chosen):
        tried = len(found.trials)
        print(
            f"no budget is within {percent(wanted.tolerance)} points after {tried} "
            "trials; the same command with more --trials goes on"
        )
    for path in (*folders, *map(str, paths)):
        print(escape.line(path))


def _cells(wanted, trial):
    values = list(trial.clean.values())
    spread = f" ± {percent(statistics.stdev(values))}" if len(values) > 1 else ""
    off = f"{100 * (trial.mean - wanted.target):+.1f}"
    at = wanted.budget.at(trial.share).values()
    return (*at, f"{percent(trial.mean)}{spread}", off, len(values))


def _plain(wanted, found, chosen, folders) -> Mapping[str, Any]:
    def one(trial):
        return {
            "budget": wanted.budget.at(trial.share),
            "clean": trial.clean,
            "mean": trial.mean,
        }

    return {
        "config": wanted.request.config,
        "flags": list(wanted.request.training),
        "rule": wanted.rule,
        "target": wanted.target,
        "tolerance": wanted.tolerance,
        "trials": [one(trial) for trial in found.trials],
        "chosen": one(chosen),
        "matched": wanted.fits(chosen),
        "folders": folders,
    }


if __name__ == "__main__":
    sys.exit(main())
