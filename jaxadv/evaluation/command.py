"""The command line of eval.py: a checkpoint, a suite, and where to write."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxadv import checkpoints, cli, evaluation, parallel, schema, specs, weights
from jaxadv.data import sources
from jaxadv.evaluation import certificates, corruptions
from jaxadv.evaluation.judging import stored
from jaxadv.evaluation.suite import planned
from jaxadv.specs import UsageError

HELP = """\
Evaluates a checkpoint: eval.py --config=configs/suites/linf.py --checkpoint=runs/a

Prints whether the result is sound and one table, and writes report.html, a page with
all tables and pictures, report.json, report.md, CSV files and table.npz (every
image). The same command goes on where a killed one stopped.

  --checkpoint: the --workdir of a training run
  --which: its "best" (by validation score; the default) or "last" checkpoint
  --checks: "cheap" (the default), "full" or "none", as --config.checks
  --save_images: write adversarial.npz too, as float32; --save_images=uint8 is a quarter
  --workdir: here optional; default: CHECKPOINT/eval/NAME OF THE SUITE
"""
FIELDS = schema.explain(evaluation.config.Fields)
# Name -> the value of a flag that stands alone.
OWN = {"checkpoint": None, "which": None, "checks": None, "save_images": "float32"}
# A field that a config of another kind has -> what resolves and evaluates it.
OTHERS: dict[str, Any] = {"corruptions": corruptions, "smoothing": certificates}
WITHOUT = (
    "or leave out the attacks that need them: narrow_*.py:no_alexnet and "
    "unseen_*.py:no_alexnet do"
)


def main(argv: Sequence[str]) -> int:
    """Runs eval.py's command line; the exit status is 2 for a user's mistake."""
    own, rest = cli.own_flags(argv, OWN)
    level = {"checks": own["checks"]} if "checks" in own else {}
    folder, images = own.get("checkpoint", ""), own.get("save_images")
    given = any(re.match(r"--?workdir(=|$)", argument) for argument in rest)
    counted = any(re.match(r"--?config\.examples(=|$)", text) for text in rest)
    if not given:
        rest.append(f"--workdir={Path(folder) / 'eval'}")

    which, found = own.get("which", "best"), {}

    def check(config):
        if not folder:
            raise UsageError("--checkpoint: give the --workdir of a training run")
        if images not in (None, *stored.DTYPES):
            raise UsageError(
                f"--save_images is {images!r}; allowed: {', '.join(stored.DTYPES)}"
            )
        if not Path(folder).is_dir():
            raise UsageError(f"--checkpoint: there is no folder {folder!r}")
        trial = specs.plain(config) | level
        if images and other(trial):
            raise UsageError("--save_images: this suite attacks no images")
        found["suite"], found["run"] = resolve(trial, folder, which)

    def run(config, workdir):
        if isinstance(found["run"], UsageError):
            raise found["run"]
        workdir = workdir if given else str(Path(workdir) / config.name)
        return evaluate(found["suite"], found["run"], workdir, images, not counted)

    fields = FIELDS
    for kind in OTHERS.values():
        fields = schema.explain(kind.Fields) | fields
    return cli.main(
        rest,
        run,
        check,
        help_text=HELP,
        fields=fields,
        whole_batch=False,
        kinds=evaluation.config.KINDS,
        usage="--config=FILE --checkpoint=RUN",
    )


@dataclasses.dataclass(frozen=True)
class Run:
    """A checkpoint that was read.

    Attributes:
      folder: of the training run.
      which: of its checkpoints.
      model: the Classifier.
      training: the config of its training.
      info: the checkpoint's notes.
    """

    folder: str
    which: str
    model: Any
    training: dict[str, Any]
    info: dict[str, Any]


def resolve(config: Mapping[str, Any], folder: str, which: str) -> tuple[Any, Any]:
    """The suite of a config, for the run that it judges, and that run.

    Other mistakes are told before that no checkpoint can be read: that error stands in
    the run's place.

    Raises:
      UsageError: the config is wrong.
    """
    run, unreadable = None, None
    try:
        model, training, info = checkpoints.load_classifier(folder, which)
        run = Run(folder, which, model, specs.plain(training), info)
    except UsageError as error:
        unreadable = error
    if kind := other(config):
        return kind.resolve(config, run and run.training), run or unreadable
    return _suite(config, run, unreadable), run or unreadable


def other(config: Any) -> Any:
    """What evaluates a config that is no suite of attacks; None for a suite."""
    return next((kind for field, kind in OTHERS.items() if field in config), None)


def _suite(config, run, unreadable):
    try:
        return evaluation.config.resolve(config, run and run.training)
    except planned.OpenEps as error:
        raise unreadable or error from None
    except weights.MissingWeights as error:
        raise UsageError(f"{error}; {WITHOUT}") from None


def evaluate(
    suite: Any,
    run: Run,
    workdir: str,
    images: str | None = None,
    fewer: bool = False,
) -> dict[str, Any]:
    """Evaluates a run with a suite, both of `resolve`; see `evaluation.evaluate`.

    With `fewer` all images are taken where the split has fewer than the suite's
    `examples`, and it is said.
    """
    given = suite if isinstance(suite, Mapping) else vars(suite)
    data, split = _data(given["data"], run.training["data"]), given["split"]
    more = {k: v for k, v in data.items() if k not in ("name", "data_dir")}
    source = sources.load(data["name"], split, data["data_dir"], **more)
    _check_shape(data["name"], source.image_shape, run.info["image_shape"])
    changed = _warn_changed(data["name"], source, run)
    name = Path(os.path.abspath(run.folder)).name
    if isinstance(suite, Mapping):
        full = {**suite, "data": data}
        return other(suite).evaluate(run.model, source, full, workdir, name=name)
    suite = dataclasses.replace(suite, data=data)
    if fewer and (suite.examples or 0) > len(source):
        if parallel.is_primary():
            told = f"the suite takes {suite.examples} images, {split!r} has"
            print(f"{told} {len(source)}: all of them", flush=True)
        suite = dataclasses.replace(suite, examples=len(source))
    return evaluation.evaluate(
        run.model,
        source,
        suite,
        workdir,
        save_images=images,
        info={
            "name": name,
            "checkpoint": run.folder,
            "which": run.which,
            "step": run.info.get("step"),
            "score": run.info.get("score"),
            "architecture": run.training["model"]["name"],
            "defense": run.training["defense"]["name"],
            "training": run.training,
            **({"data_changed": True} if changed else {}),
        },
    )


def _data(given, then):
    """What is opened: the run's set, unless the suite names another.

    The same images are held out as a test split as before training. Another set has its
    own.
    """
    data = {"name": then["name"], "data_dir": then["data_dir"]}
    same = given["name"] in (None, then["name"])
    more = {
        "image_size": then.get("image_size"),
        "test": then.get("test") if same else None,
    }
    data |= {k: v for k, v in more.items() if v is not None}
    return data | {k: v for k, v in given.items() if v is not None}


def _warn_changed(name, source, run):
    """Says that files are others than those that the run was trained on."""
    then, now = run.info.get("fingerprint"), source.fingerprint
    if name != run.training["data"]["name"] or None in (then, now) or then == now:
        return False
    if parallel.is_primary():
        print(
            f"WARNING: the files of {name} have changed since {run.folder} was trained "
            f"(their checksum was {then:08x}, now it is {now:08x}): what is tested may "
            "have been trained on",
            flush=True,
        )
    return True


def _check_shape(name, images, trained):
    if tuple(images) != tuple(trained):
        sizes = (" x ".join(map(str, shape)) for shape in (images, trained))
        raise UsageError(
            "config.data.name is {!r}, whose images are {}; the network was trained "
            "on {}: give a data set of these".format(name, *sizes)
        )
