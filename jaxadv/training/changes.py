"""What of a run may change while it goes on, and how that is told."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxadv import checkpoints, specs
from jaxadv.specs import UsageError
from jaxadv.training import settings

# A step takes them as they are then: nothing that a run remembers hangs on them. Below
# a group all of its fields are meant.
FIELDS = (
    "epochs",
    "patience",
    "log_steps",
    "checkpoint_steps",
    "checkpoint_seconds",
    "accumulate_steps",
    "data.data_dir",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "optimizer.clip_value",
    "optimizer.clip_norm",
    "schedule",
)
_OF_RATE = ("epochs", "schedule", "optimizer.learning_rate")
_ABSENT = "absent"


@dataclasses.dataclass(frozen=True)
class Change:
    """A field of a run's config that is another one now.

    Attributes:
      field: its dotted path, without `config`.
      old: its value so far; "absent" where there was no such field.
      new: its value now, or "absent".
    """

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"config.{self.field}: {self.old!r} -> {self.new!r}"


def named(text: str | None) -> tuple[str, ...]:
    """The fields that --change names, as `optimizer.learning_rate,epochs`.

    Raises:
      UsageError: one that cannot change in the middle of a run.
    """
    if text is None:
        return ()
    found = [name.strip().removeprefix("config.") for name in text.split(",")]
    for name in found:
        if not _within(name, FIELDS):
            known = ", ".join(FIELDS)
            raise UsageError(
                f"--change: {name!r} cannot change in the middle of a run; these can: "
                f"{known}"
            )
    return tuple(found)


def between(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Every field that differs between two configs, by its path.

    A field that `old` does not know, as it is older, had the default.
    """
    defaults = settings.plain(settings.default_config())
    old, new, known = (
        specs.flat(json.loads(json.dumps(fields))) for fields in (old, new, defaults)
    )
    found = []
    for field in sorted(old.keys() | new.keys()):
        before, now = old.get(field, _ABSENT), new.get(field, _ABSENT)
        later = field not in old and field in known and now == known[field]
        if before != now and not later:
            found.append(Change(field, before, now))
    return found


def check(folder: Path, config: Mapping[str, Any], allowed: Sequence[str] = ()) -> bool:
    """Whether `folder` holds a run that can go on with `config`; False for no run.

    More epochs than those of a run that has ended continue it. Other fields than those
    `allowed` are the run's own.

    Raises:
      UsageError: it holds a run with another config, and every field is named, or one
        that has trained longer than `config` says.
    """
    configs, meta = checkpoints.recorded(folder)
    found: dict[str, Change] = {}
    for old in configs:
        found = {change.field: change for change in between(old, config)} | found
    notes, done = meta.get("notes", {}), meta.get("epoch", 0)
    if notes.get("finished") and _longer(found.get("epochs")):
        _check_patience(folder, meta, found)
        allowed = (*allowed, "epochs")
    refused = [c for c in found.values() if not _within(c.field, allowed)]
    if config.get("epochs", done) < done and {c.field for c in refused} <= {"epochs"}:
        raise too_few(folder, config["epochs"], f"trained {done}")
    if refused:
        raise UsageError(_told(folder, refused))
    return bool(configs)


def noted(found: Sequence[Change], step: int) -> list[dict[str, Any]]:
    """What changes at a step, for the notes of checkpoints."""
    return [{"step": step, **dataclasses.asdict(change)} for change in found]


def told(
    found: Sequence[Change],
    old: Mapping[str, Any],
    rate: Callable[[int], Any],
    step: int,
    steps_per_epoch: int,
) -> list[str]:
    """What changes at a step, and what the learning rate does there.

    Args:
      found: what changes.
      old: the config so far.
      rate: step -> learning rate, from now on.
      step: the last one done.
      steps_per_epoch: of the training data.
    """
    lines = [f"step {step}: " + "; ".join(map(str, found))]
    if any(_within(c.field, _OF_RATE) for c in found) and step:
        before = float(settings.rate(old, steps_per_epoch)(step - 1))
        lines.append(
            f"the schedule is that of the new settings: the learning rate was "
            f"{before:.3g} in step {step} and is {float(rate(step)):.3g} in the next"
        )
    return lines


def moved(before: int, now: int, batch_size: int, batch_stats: Any) -> str:
    """What a run that goes on with another number of devices is warned of.

    Args:
      before: the number of devices so far.
      now: the number from now on.
      batch_size: of all devices together.
      batch_stats: of the network; empty where nothing is normalized by batches.
    """
    line = (
        f"WARNING: the run used {before} devices, now it is {now}: results may differ "
        "by rounding"
    )
    if not batch_stats:
        return line
    return (
        f"{line}, and batch normalization takes the statistics of {batch_size // now} "
        f"images at a time in place of {batch_size // before}"
    )


def too_few(folder: Path, epochs: int, done: str) -> UsageError:
    """The error that a run has gone further than `epochs`."""
    return UsageError(
        f"config.epochs is {epochs}, but the run in {folder} has {done}; give more "
        "epochs, or another --workdir"
    )


def _check_patience(folder, meta, found):
    """Raises UsageError for more epochs of a run that its patience has ended."""
    wanted = meta["config"].get("epochs", 0)
    if meta.get("epoch", 0) < wanted and "patience" not in found:
        raise UsageError(
            f"the run in {folder} ended after {meta['epoch']} of {wanted} epochs "
            f"({meta['notes']['finished']}), so more epochs do not continue it; give "
            "another config.patience too, with --change=patience"
        )


def _told(folder, refused):
    lines = "; ".join(map(str, refused))
    free = [c.field for c in refused if _within(c.field, FIELDS)]
    hint = f"; to change in the middle of the run add --change={','.join(free)}"
    return (
        f"the run in {folder} has other settings: {lines}; restore the fields or give "
        f"another --workdir{hint if free else ''}"
    )


def _longer(change) -> bool:
    """Whether there are more epochs now."""
    return change is not None and type(change.old) is int and change.new > change.old


def _within(field, names) -> bool:
    return any(field == name or field.startswith(f"{name}.") for name in names)
