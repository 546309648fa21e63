"""The command `jaxadv sweep`.

jaxadv sweep configs/demo.py --workdir=runs/eps --suite=quick --seeds=0,1,2 \\
    --grid attack.threat.eps=0.1,0.15,0.2
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from jaxadv import console
from jaxadv.evaluation.writing import escape
from jaxadv.evaluation.writing.cells import aligned
from jaxadv.sweep import flags, grid, plans, results, steps

FAILED = 1
ABOUT = """\
Trains a config at every point of a grid, with every seed, judges each training with
one suite, and ends in a table of means and sample standard deviations over the seeds,
also in WORKDIR/sweep.csv and sweep.json. The same command goes on where a killed one
stopped, and skips what is finished.

Each combination has a folder in WORKDIR, named by what is different, and is trained
and judged in processes of its own. All are checked before the first is run.

  jaxadv sweep configs/demo.py --workdir=runs/eps --suite=quick --seeds=0,1,2 \\
      --grid attack.threat.eps=0.1,0.15,0.2 --grid attack.name=pgd,apgd --suite.eps=0.15

Values are those of flags: numbers, fractions as 8/255, names of parts; commas inside
brackets or quotes are part of a value. Where a suite leaves eps open it is that of
each training; --suite.eps=VALUE judges all at the same one.

For a scheduler, --print writes one line for each combination and runs nothing; then
--table makes the table of what is finished. With Slurm:

  jaxadv sweep … --print > lines.txt
  sbatch --array=1-$(wc -l < lines.txt) --wrap \\
      'bash -c "$(sed -n ${SLURM_ARRAY_TASK_ID}p lines.txt)"'
  jaxadv sweep … --table
"""
OWN = """\
further flags:
  --config.FIELD=VALUE   of the training config, for all combinations
  --suite.FIELD=VALUE    of the suite, as --suite.examples=100
  --cpu_devices=N        of both commands
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status, 1 where a combination has failed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    asked, others = parser.parse_known_args(given)

    def work():
        # The processes of the combinations need the accelerator, with all its memory.
        jax.config.update("jax_platforms", "cpu")
        request = _request(asked, others)
        combinations = plans.plan(request)
        if asked.print:
            print("\n".join(map(steps.line, combinations)))
            return 0
        failed = [] if asked.table else steps.run(combinations, show=flags.show)
        _tell(request, combinations)
        for line in failed:
            print(f"error: {escape.line(line)}", file=sys.stderr)
        return FAILED if failed else 0

    return console.conclude(work, "the same command goes on from here")


def _parser():
    parser = flags.parser("sweep", ABOUT, OWN)
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="FIELD=VALUE,…",
        help="a field and its values; several: all combinations",
    )
    parser.add_argument(
        "--suite", default="linf", help="a name or a .py file (default: linf)"
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--print",
        "--dry_run",
        action="store_true",
        help="the commands, and run nothing",
    )
    either.add_argument(
        "--table", action="store_true", help="of what is finished, and run nothing"
    )
    return parser


def _request(asked, others):
    groups = flags.grouped(others, ("config", "suite"), "sweep")
    judging = [re.sub(r"^--(no)?suite\.", r"--\1config.", f) for f in groups["suite"]]
    return plans.Request(
        config=asked.config,
        root=asked.workdir,
        axes=grid.axes(asked.grid),
        seeds=None if asked.seeds is None else grid.seeds(asked.seeds),
        suite=asked.suite,
        training=groups["config"],
        judging=judging,
        devices=groups["cpu_devices"],
    )


def _tell(request, combinations):
    rows = results.rows(combinations, steps.judged, steps.read)
    about = {
        "config": request.config,
        "flags": list(request.training),
        "suite": request.suite,
        "suite_flags": list(request.judging),
    }
    if not any(row.finished for row in rows):
        print(f"nothing is finished in {escape.line(request.root)}")
        return
    paths = results.write(rows, about, Path(request.root))
    print("\n".join(["", *aligned(results.cells(rows))]))
    for line in [*results.notes(rows), *map(str, paths)]:
        print(escape.line(line))


if __name__ == "__main__":
    sys.exit(main())
