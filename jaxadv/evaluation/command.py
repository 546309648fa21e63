"""The command line of eval.py: a checkpoint, a suite, and where to write."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxadv import checkpoints, cli, evaluation, schema, specs, weights
from jaxadv.data import sources
from jaxadv.evaluation import corruptions
from jaxadv.specs import UsageError

HELP = """\
Evaluates a checkpoint: eval.py --config=configs/suites/linf.py --checkpoint=runs/a

Prints whether the result is sound and one table, and writes report.html, a page with
all tables and pictures, report.json, report.md, CSV files and table.npz (every
image). The same command goes on where a killed one stopped.

  --checkpoint: the --workdir of a training run
  --which: its "best" (by validation score; the default) or "last" checkpoint
  --checks: "cheap" (the default), "full" or "none", as --config.checks
  --workdir: here optional; default: CHECKPOINT/eval/NAME OF THE SUITE
"""
FIELDS = schema.explain(evaluation.config.Fields)
WITHOUT = (
    "or leave out the attacks that need them: narrow_*.py:no_alexnet and "
    "unseen_*.py:no_alexnet do"
)


def main(argv: Sequence[str]) -> int:
    """Runs eval.py's command line; the exit status is 2 for a user's mistake."""
    own, rest = _own_flags(argv)
    level = {"checks": own["checks"]} if "checks" in own else {}
    folder = own.get("checkpoint", "")
    given = any(re.match(r"--?workdir(=|$)", argument) for argument in rest)
    if not given:
        rest.append(f"--workdir={Path(folder) / 'eval'}")

    def check(config):
        if not folder:
            raise UsageError("--checkpoint: give the --workdir of a training run")
        if not Path(folder).is_dir():
            raise UsageError(f"--checkpoint: there is no folder {folder!r}")
        # With an eps in place of the checkpoint's, which is not read yet.
        trial = specs.plain(config) | level
        if "corruptions" in trial:
            corruptions.resolve(trial)
            return
        eps = trial.get("eps")
        try:
            evaluation.config.resolve(trial | {"eps": 1.0 if eps is None else eps})
        except weights.MissingWeights as error:
            raise UsageError(f"{error}; {WITHOUT}") from None

    def run(config, workdir):
        workdir = workdir if given else str(Path(workdir) / config.name)
        suite = specs.plain(config) | level
        return evaluate(suite, folder, own.get("which", "best"), workdir)

    fields = schema.explain(corruptions.Fields) | FIELDS
    return cli.main(
        rest,
        run,
        check,
        help_text=HELP,
        fields=fields,
        whole_batch=False,
        kinds=evaluation.config.KINDS,
    )


def evaluate(config: Any, checkpoint: str, which: str, workdir: str) -> dict[str, Any]:
    """Evaluates a checkpoint with the suite `config`; see `evaluation.evaluate`."""
    model, config_then, info = checkpoints.load_classifier(checkpoint, which)
    suite, training = specs.plain(config), specs.plain(config_then)
    data = {k: v for k, v in (suite.get("data") or {}).items() if v is not None}
    then = training["data"]
    data = {"name": then["name"], "data_dir": then["data_dir"], **data}
    source = sources.load(data["name"], suite.get("split", "test"), data["data_dir"])
    _check_shape(data["name"], source.image_shape, info["image_shape"])
    suite, name = suite | {"data": data}, Path(os.path.abspath(checkpoint)).name
    if "corruptions" in suite:
        return corruptions.evaluate(model, source, suite, workdir, name=name)
    return evaluation.evaluate(
        model,
        source,
        suite,
        workdir,
        info={
            "name": name,
            "checkpoint": str(checkpoint),
            "which": which,
            "step": info.get("step"),
            "score": info.get("score"),
            "architecture": training["model"]["name"],
            "defense": training["defense"]["name"],
            "training": training,
        },
    )


def _check_shape(name, images, trained):
    if tuple(images) != tuple(trained):
        sizes = (" x ".join(map(str, shape)) for shape in (images, trained))
        raise UsageError(
            "config.data.name is {!r}, whose images are {}; the network was trained "
            "on {}: give a data set of these".format(name, *sizes)
        )


def _own_flags(argv):
    """`--checkpoint`, `--which` and `--checks`, and the arguments without them."""
    found, rest, arguments = {}, [], list(argv)
    while arguments:
        argument = arguments.pop(0)
        match = re.fullmatch(r"--?(checkpoint|which|checks)(?:=(.*))?", argument)
        if match is None:
            rest.append(argument)
        elif match[2] is not None:
            found[match[1]] = match[2]
        else:
            found[match[1]] = arguments.pop(0) if arguments else ""
    return found, rest
