"""The combinations of a sweep: what each trains, how it is judged, and where."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxadv import cli, evaluation
from jaxadv.evaluation import command
from jaxadv.evaluation.suite import declared, shipped
from jaxadv.files import storage
from jaxadv.files.checksums import checksum_json
from jaxadv.specs import UsageError
from jaxadv.sweep import grid
from jaxadv.training import changes, settings


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
      config: path of the training config.
      root: the folder below which every combination has its own.
      axes: the fields that change, with their values.
      seeds: of the training; None: the config's own.
      suite: what judges, a name of ours or the path of a .py file; None: nothing does.
      training: flags of the training config, `--config.FIELD=VALUE`, for all.
      judging: flags of the suite, written the same.
      devices: flags of both commands.
      flag: the flag that the axes come from, for messages.
    """

    config: str
    root: str
    axes: Sequence[grid.Axis] = ()
    seeds: tuple[int, ...] | None = None
    suite: str | None = "linf"
    training: Sequence[str] = ()
    judging: Sequence[str] = ()
    devices: Sequence[str] = ()
    flag: str = "--grid"


@dataclasses.dataclass(frozen=True)
class Combination:
    """One training, and its evaluation.

    Attributes:
      point: path -> value as it was written, of the fields that change.
      seed: of the training.
      folder: of the run.
      training: the config, as its run keeps it.
      suite: the Suite that judges it, or None.
      train: arguments of `jaxadv` that train it.
      judge: arguments of `jaxadv` that judge it.
    """

    point: dict[str, str]
    seed: int
    folder: Path
    training: dict[str, Any]
    suite: Any
    train: tuple[str, ...]
    judge: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's, which says what is different."""
        return self.folder.name

    @property
    def results(self) -> Path:
        """The folder of its evaluation, the default of `jaxadv eval`."""
        return self.folder / "eval" / self.suite.name


def plan(request: Request) -> list[Combination]:
    """All combinations, points first and then seeds, each checked; nothing is written.

    Raises:
      UsageError: one of them cannot be run; the message begins with its point.
    """
    storage.check_folder(request.root, "--workdir")
    _check_once(request)
    try:
        suite = request.suite and shipped.path(request.suite)
    except UsageError as error:
        raise UsageError(f"--{error}") from None
    found = []
    for point in grid.points(request.axes):
        for seed in request.seeds or (None,):
            try:
                found.append(_combination(request, suite, point, seed))
            except UsageError as error:
                where = f"{request.flag} {grid.shown(point)}: " if point else ""
                raise UsageError(f"{where}{error}") from None
    _check_different(found, request.flag)
    return found


def _combination(request, suite, point, seed):
    flags = [*request.training]
    flags += [f"--config.{path}={value}" for path, value in point.items()]
    flags += [] if seed is None else [f"--config.seed={seed}"]
    config = cli.resolve([f"--config={request.config}", *flags], settings.KINDS)
    settings.plan(config)
    folder = Path(request.root) / grid.name(point, config.seed)
    training = settings.kept(config)
    changes.check(folder, training)
    judge = [f"--config={suite}", *request.judging]
    return Combination(
        point=point,
        seed=config.seed,
        folder=folder,
        training=training,
        suite=_suite(judge, training) if suite else None,
        train=(
            *("train", f"--config={request.config}", *flags),
            *(f"--workdir={folder}", *request.devices),
        ),
        judge=("eval", *judge, f"--checkpoint={folder}", *request.devices),
    )


def _suite(flags, training):
    try:
        config = cli.resolve(flags, declared.KINDS)
        if command.other(config):
            raise UsageError(f"{config['name']} attacks nothing; give another suite")
        return evaluation.config.resolve(config, training)
    except UsageError as error:
        told = str(error).replace("--config.", "--suite.").removeprefix("--config: ")
        where = "" if told.startswith("--suite") else "--suite: "
        raise UsageError(f"{where}{told}") from None


def _check_once(request):
    """Raises UsageError where a flag would set what the sweep sets."""
    own = {one.path for one in request.axes}
    own |= {"seed"} if request.seeds is not None else set()
    for flag in request.training:
        match = re.match(r"--(?:no)?config\.([^=]+)", flag)
        if match and match[1] in own:
            seeds = match[1] == "seed"
            other = "--seeds" if seeds else f"{request.flag} {match[1]}"
            raise UsageError(f"--config.{match[1]} and {other} are both given")


def _check_different(combinations, flag):
    """Raises UsageError where two are the same training, or would share a folder."""
    folders: dict[str, Any] = {}
    trainings: dict[int, Any] = {}
    for one in combinations:
        of = grid.shown(one.point)
        same = trainings.setdefault(checksum_json(one.training), of)
        if same != of:
            raise UsageError(f"{flag}: {same} and {of} are the same training")
        same = folders.setdefault(one.name, of)
        if same != of:
            raise UsageError(
                f"{flag}: {same} and {of} would share the folder {one.name!r}"
            )
