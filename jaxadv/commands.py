"""The command `jaxadv`: everything that can be run, by name.

jaxadv train --config=configs/demo.py --workdir=runs/demo
jaxadv eval --config=configs/suites/linf.py --checkpoint=runs/demo
jaxadv list attacks
"""

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import jaxadv
from jaxadv import cli, configfiles, console
from jaxadv.specs import UsageError

# Name -> (module, its registry), of parts that a config names.
PARTS = {
    "attacks": ("jaxadv.attacks", "ATTACKS"),
    "threats": ("jaxadv.threats", "THREATS"),
    "objectives": ("jaxadv.objectives", "OBJECTIVES"),
    "defenses": ("jaxadv.defenses", "DEFENSES"),
    "models": ("jaxadv.models", "MODELS"),
    "augmentations": ("jaxadv.data.augment", "AUGMENTATIONS"),
    "distances": ("jaxadv.perceptual", "DISTANCES"),
    "data": ("jaxadv.data.catalog", "DATASETS"),
    "metrics": ("jaxadv.evaluation.metrics", "METRICS"),
}
# Name -> (what it does, the module whose `main(arguments)` does it).
OTHERS = {
    "sweep": ("trains and judges a grid of configs", "jaxadv.sweep.command"),
    "match": ("finds the budget of a clean accuracy", "jaxadv.sweep.match"),
    "compare": ("sets runs side by side", "jaxadv.evaluation.tools.compare"),
    "transfer": (
        "judges adversarial images by other networks",
        "jaxadv.evaluation.tools.transfer",
    ),
    "study": ("a perceptual study", "jaxadv.evaluation.tools.study"),
    "saliency": ("trains a saliency network on masks", "jaxadv.training.saliency"),
    "masks": ("predicts the foregrounds of a data set", "jaxadv.training.masks"),
    "prepare": ("prepares a data set once", "jaxadv.data.prepare"),
    "weights": ("shows and converts weight files", "jaxadv.weights.__main__"),
}
TRAIN = """\
Trains a classifier: train --config=configs/demo.py --workdir=runs/a

The same command goes on where a killed run stopped, and more epochs where it ended:
train --workdir=runs/a --config.epochs=20 (a run's own config needs no --config).

  --change: fields that may differ from those of the run in --workdir, as
    --change=optimizer.learning_rate,patience; others are an error
  --profile: folder where process 0 writes a trace of a few steps (jax.profiler)
  --profile_steps: the first and the last of them, counted from 1 at this start; default
    10-15
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit status, 2 for a user's mistake."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name, rest = (given[0], given[1:]) if given else ("--help", [])
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"jaxadv {jaxadv.__version__}, jax {metadata.version('jax')}")
        return 0
    if name == "train":
        return train(["jaxadv train", *rest])
    if name == "eval":
        return _module("jaxadv.evaluation.command").main(["jaxadv eval", *rest])
    if name == "list":
        return console.conclude(lambda: _list(rest))
    if name not in OTHERS:
        print(f"error: {name!r} is no command\n\n{usage()}", file=sys.stderr)
        return 2
    return _module(OTHERS[name][1]).main(rest)


def train(argv: Sequence[str]) -> int:
    """The command line of train.py."""
    from jaxadv import checkpoints
    from jaxadv.training import changes, loop, profiling, settings

    own = {"change": None, "profile": None, "profile_steps": None}
    given, rest = cli.own_flags(argv, own)

    def profile():
        return profiling.asked(given.get("profile"), given.get("profile_steps"))

    def check(config):
        changes.named(given.get("change"))
        profile()
        settings.plan(config)

    def run(config, workdir):
        change = changes.named(given.get("change"))
        loop.run(config, workdir, change=change, profile=profile())

    def recorded(folder):
        configs = checkpoints.recorded(Path(folder))[0] if folder else []
        if folder and not configs:
            raise UsageError(
                f"--workdir: there is no run in {folder} to go on with; give --config "
                "for a new one, as configs/demo.py"
            )
        return settings.recorded(configs[0]) if configs else None

    return cli.main(
        rest,
        run,
        check,
        help_text=TRAIN,
        fields=settings.explain(),
        whole_batch=True,
        recorded=recorded,
    )


def usage() -> str:
    """What the commands are."""
    known = {
        "train": "trains a classifier, as train.py",
        "eval": "judges a trained classifier, as eval.py",
        **{name: told for name, (told, _) in OTHERS.items()},
        "list": f"configs, suites, {', '.join(PARTS)}: a line each",
    }
    width = max(map(len, known))
    lines = [f"  {name.ljust(width)}  {told}" for name, told in known.items()]
    return "\n".join(["usage: jaxadv COMMAND [--help] … | --version", "", *lines])


def listed(kind: str) -> dict[str, str]:
    """Name -> one line, of the configs, the suites or one kind of parts."""
    if kind in ("configs", "suites"):
        return dict(_files(kind))
    module, name = PARTS[kind]
    registry = getattr(_module(module), name)
    files = _module("jaxadv.data.own").KINDS.values() if kind == "data" else ()
    own = dict(text.split(", ", 1) for text in files)
    return {part: registry.told(part) for part in registry} | own


def _list(kinds):
    parser = console.Parser(prog="jaxadv list", description="What there is.")
    every = ["configs", "suites", *PARTS]
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(every))
    chosen = parser.parse_args(kinds).kinds or every
    for kind in chosen:
        if kind not in every:
            parser.error(f"there is no {kind!r}; give {', '.join(every)}")
        _show(kind, listed(kind))
    return 0


def _show(kind: str, lines: Mapping[str, str]) -> None:
    width = max(map(len, lines), default=0)
    print(f"{kind}:")
    for name, told in lines.items():
        print(f"  {name.ljust(width)}  {told}".rstrip())


def _files(kind) -> Iterator[tuple[str, str]]:
    """(path, first line) of the files that have a `get_config`."""
    for path in configfiles.files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        suite = path.parent.name == "suites"
        if suite is (kind == "suites") and "get_config" in path.read_text("utf-8"):
            told = (ast.get_docstring(tree) or "").partition("\n")[0]
            yield path.relative_to(configfiles.ROOT).as_posix(), told


def _module(name):
    return importlib.import_module(name)
