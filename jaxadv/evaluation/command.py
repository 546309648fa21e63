"""The command line of eval.py: a checkpoint, a suite, and where to write."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxadv import cli, evaluation, parallel, schema, specs, weights
from jaxadv.data import catalog, sources
from jaxadv.evaluation import certificates, corruptions, opened
from jaxadv.evaluation.judging import stored
from jaxadv.evaluation.suite import planned
from jaxadv.specs import UsageError

HELP = """\
Evaluates a checkpoint: eval.py --config=configs/suites/linf.py --checkpoint=runs/a
or a weight file: eval.py --config=configs/suites/autoattack.py --checkpoint=w.pt
    --arch=wrn_28_10 --normalization=none --data=cifar10

Prints whether the result is sound and one table, and writes report.html, a page with
all tables and pictures, report.json, report.md, CSV files and table.npz (every
image). The same command goes on where a killed one stopped.

  --checkpoint: the --workdir of a training run, or a .safetensors, .pth or .pt file
  --arch: of a file that does not say it: {archs}
  --normalization: likewise, what its images are normalized by: {normalizations}
  --data: the data set, as --config.data.name; a run's own by default
  --which: its "best" (by validation score; the default) or "last" checkpoint
  --checks: "cheap" (the default), "full" or "none", as --config.checks
  --save_images: write adversarial.npz too, as float32; --save_images=uint8 is a quarter
  --workdir: here optional; default: CHECKPOINT/eval/NAME OF THE SUITE, of a file
    NAME_eval/NAME OF THE SUITE beside it
""".format(
    archs=", ".join(weights.NAMES), normalizations=", ".join(weights.NORMALIZATIONS)
)
FIELDS = schema.explain(evaluation.config.Fields)
# Name -> the value of a flag that stands alone.
OWN = {
    "checkpoint": None,
    "which": None,
    "arch": None,
    "normalization": None,
    "data": None,
    "checks": None,
    "save_images": "float32",
}
_OF_FILES = ("arch", "normalization")
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
        rest.append(f"--workdir={_beside(folder)}")
    found = {}

    def check(config):
        if not folder:
            raise UsageError(
                "--checkpoint: give the --workdir of a training run, or a weight file"
            )
        if images not in (None, *stored.DTYPES):
            raise UsageError(
                f"--save_images is {images!r}; allowed: {', '.join(stored.DTYPES)}"
            )
        _check_place(folder, own)
        trial = specs.plain(config) | level
        if "data" in own:
            trial["data"] = {**(trial.get("data") or {}), "name": own["data"]}
        if opened.is_file(folder) and not (trial.get("data") or {}).get("name"):
            raise UsageError(f"--data: give the data set of {folder}, as cifar10")
        if images and other(trial):
            raise UsageError("--save_images: this suite attacks no images")
        found["suite"], found["run"] = resolve(trial, folder, **_told(own))

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


def _beside(path):
    """Where evaluations of a run, or of a weight file, are written by default."""
    if opened.is_file(path):
        return Path(path).with_name(f"{Path(path).stem}_eval")
    return Path(path) / "eval"


def _check_place(path, own):
    """Refuses a checkpoint that is not there, and flags of the other kind of it."""
    if opened.is_file(path):
        if not Path(path).is_file():
            raise UsageError(f"--checkpoint: there is no file {path!r}")
        if "which" in own:
            raise UsageError("--which is for training runs; a file has one network")
        return
    if not Path(path).is_dir():
        raise UsageError(
            f"--checkpoint: there is no folder {path!r}, and a weight file ends in "
            f"{', '.join(weights.ENDINGS)}"
        )
    for name in _OF_FILES:
        if name in own:
            raise UsageError(f"--{name} is for weight files; a run knows its network")


def _told(own):
    return {name: own[name] for name in ("which", *_OF_FILES) if name in own}


def resolve(
    config: Mapping[str, Any],
    path: str,
    which: str = "best",
    arch: str | None = None,
    normalization: str | None = None,
) -> tuple[Any, Any]:
    """The suite of a config, for the network that it judges, and that network.

    Other mistakes are told before that no checkpoint can be read: that error stands in
    the network's place.

    Raises:
      UsageError: the config is wrong.
    """
    run, unreadable = None, None
    try:
        if opened.is_file(path):
            run = opened.of_file(path, arch, normalization)
        else:
            run = opened.of_run(path, which)
    except UsageError as error:
        unreadable = error
    if kind := other(config):
        return kind.resolve(config, run and run.training), run or unreadable
    return _suite(config, run, unreadable), run or unreadable


def other(config: Any) -> Any:
    """What evaluates a config that is no suite of attacks; None for a suite."""
    return next((kind for field, kind in OTHERS.items() if field in config), None)


def _suite(config, run, unreadable):
    usual = {} if run is None or run.training else _usual(config)
    try:
        return evaluation.config.resolve(config, run and run.training, usual)
    except planned.OpenEps as error:
        raise unreadable or error from None
    except weights.MissingWeights as error:
        raise UsageError(f"{error}; {WITHOUT}") from None


def _usual(config):
    """The budgets that networks for a data set are usually judged at."""
    name = (config.get("data") or {}).get("name")
    plain = name and name.partition("/")[0]
    return (
        catalog.DATASETS.data[plain].budgets if plain in catalog.DATASETS.data else {}
    )


def evaluate(
    suite: Any,
    run: opened.Opened,
    workdir: str,
    images: str | None = None,
    fewer: bool = False,
) -> dict[str, Any]:
    """Evaluates a run with a suite, both of `resolve`; see `evaluation.evaluate`.

    With `fewer` all images are taken where the split has fewer than the suite's
    `examples`, and it is said.
    """
    given = suite if isinstance(suite, Mapping) else vars(suite)
    data, split = _data(given["data"], run), given["split"]
    more = {k: v for k, v in data.items() if k not in ("name", "data_dir")}
    source = sources.load(data["name"], split, data["data_dir"], **more)
    run.check_images(data["name"], source.image_shape)
    changed = _warn_changed(data["name"], source, run)
    name = Path(os.path.abspath(run.path)).name
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
            **run.about,
            **({"data_changed": True} if changed else {}),
        },
    )


def _data(given, run) -> dict[str, Any]:
    """What is opened: the set of a run, unless the suite names another.

    The same images are held out as a test split as before training. Another set has its
    own.
    """
    then = run.data
    data = {"name": then.get("name"), "data_dir": then.get("data_dir")}
    same = given["name"] in (None, data["name"])
    more = {
        "image_size": then.get("image_size"),
        "test": then.get("test") if same else None,
    }
    data |= {k: v for k, v in more.items() if v is not None}
    return data | {k: v for k, v in given.items() if v is not None}


def _warn_changed(name, source, run):
    """Says that files are others than those that the run was trained on."""
    then, now = run.fingerprint, source.fingerprint
    if name != run.data.get("name") or None in (then, now) or then == now:
        return False
    if parallel.is_primary():
        print(
            f"WARNING: the files of {name} have changed since {run.path} was trained "
            f"(their checksum was {then:08x}, now it is {now:08x}): what is tested may "
            "have been trained on",
            flush=True,
        )
    return True
