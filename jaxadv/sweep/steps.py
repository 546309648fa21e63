"""Runs what is left of a sweep, each command in a process of its own."""

import contextlib
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from jaxadv import checkpoints, specs
from jaxadv.evaluation import table
from jaxadv.evaluation.run import runner
from jaxadv.evaluation.writing import files
from jaxadv.specs import UsageError
from jaxadv.sweep.plans import Combination

_PATIENCE = 20.0  # seconds in which an interrupted command ends by itself


class _Ended(KeyboardInterrupt):
    """This process alone was asked to end."""


def command(arguments: Sequence[str]) -> list[str]:
    """The command line that runs `jaxadv` with arguments, by this Python."""
    return [sys.executable, "-m", "jaxadv", *arguments]


def line(combination: Combination) -> str:
    """One line for a shell that trains and then judges a combination."""
    both = command(combination.train), command(combination.judge)
    return " && ".join(shlex.join(one) for one in both)


def run(
    combinations: Sequence[Combination],
    execute: Callable[[Sequence[str]], int] | None = None,
    show: Callable[[str], None] = print,
    todo: Callable[[Combination], Sequence[tuple[str, ...]]] | None = None,
) -> list[str]:
    """Trains and judges what is not finished; one that fails does not stop the others.

    Args:
      combinations: see `plans.plan`.
      execute: runs a command line and returns its exit status; default: in a process
        of its own, whose memory is free when it ends.
      show: is told the progress.
      todo: the commands that remain of a combination; default: `left`.

    Returns:
      A line for each combination that failed.
    """
    execute, remaining, failed = execute or _execute, todo or left, []
    for number, one in enumerate(combinations, 1):
        where = f"[{number}/{len(combinations)}] {one.name}"
        commands = remaining(one)
        if not commands:
            show(f"{where}: finished before")
        for arguments in commands:
            show(f"{where}: {arguments[0]}")
            status = execute(command(arguments))
            if status:
                failed.append(f"{one.name}: {arguments[0]} failed (exit {status})")
                show(f"[{number}/{len(combinations)}] {failed[-1]}")
                break
    return failed


def left(one: Combination) -> list[tuple[str, ...]]:
    """The commands of a combination that have not done their work."""
    if not trained(one):
        return [one.train, one.judge]
    return [] if judged(one) else [one.judge]


def left_to_train(one: Combination) -> list[tuple[str, ...]]:
    """The same of its training alone."""
    return [] if trained(one) else [one.train]


def trained(one: Combination) -> bool:
    """Whether this training is over."""
    notes = checkpoints.notes(one.folder)
    if notes is None or _json(notes.get("config")) != _json(one.training):
        return False
    return bool(notes.get("notes", {}).get("finished"))


def judged(one: Combination) -> table.Table | None:
    """The table of a finished evaluation of this training's best checkpoint, by this
    suite; None where there is none."""
    best, report = checkpoints.notes(one.folder, "best"), read(one)
    try:
        found = table.load(one.results / "table.npz")
    except UsageError:
        return None
    model = report.get("model")
    if best is None or not isinstance(model, dict):
        return None
    current = (
        model.get("which") == "best"
        and model.get("step") == best["step"]
        and model.get("training") == _json(one.training)
        # Written after the table: if it is older, the evaluation was interrupted.
        and report.get("fingerprint") == found.metadata.get("fingerprint")
    )
    return found if current and _of_suite(found, one) else None


def _of_suite(found, one):
    """Whether a table is what this suite writes, of as many images."""
    known = found.metadata
    curves, of = known.get("curves", {}), known.get("fingerprint", "")
    dataset = one.suite.data["name"] or one.training["data"]["name"]
    expected = runner.metadata(one.suite, dataset, of, curves)
    count = one.suite.examples or len(found)
    return _json(known) == _json(expected) and len(found) == count


def read(one: Combination) -> dict[str, Any]:
    """The report of a combination's evaluation, empty where there is none."""
    try:
        found = json.loads((one.results / "report.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _json(value):
    """`value` as it is read from a report."""
    return json.loads(json.dumps(files.finite(specs.plain(value))))


def _execute(arguments):
    with _Terminated() as request, subprocess.Popen(arguments) as process:
        try:
            request.heed()
            return process.wait()
        except BaseException as error:
            if isinstance(error, _Ended):  # a terminal interrupts the command too
                # Where interruptions are ignored, as behind &, the command does too.
                ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
                process.send_signal(signal.SIGTERM if ignored else signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            process.kill()
            raise


class _Terminated:
    """A request to end becomes an interruption, which ends the command too.

    One that comes while the command is being started waits for `heed`.
    """

    def __enter__(self):
        self._asked = self._heeded = False
        with contextlib.suppress(ValueError):  # not in the main thread
            self._before = signal.signal(signal.SIGTERM, self._end)
        return self

    def heed(self) -> None:
        """From now on a request raises `_Ended`, at once if there was one before."""
        self._heeded = True
        if self._asked:
            raise _Ended

    def __exit__(self, *_):
        if hasattr(self, "_before"):
            signal.signal(signal.SIGTERM, self._before)

    def _end(self, number, frame):
        self._asked = True
        if self._heeded:
            raise _Ended
