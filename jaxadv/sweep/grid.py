"""Fields and the values that they take, seeds, and the name of each combination."""

import dataclasses
import itertools
import re
from collections.abc import Sequence

from jaxadv.specs import UsageError

_OPEN, _CLOSE, _QUOTES = "([{", ")]}", "'\""
_LONGEST = 60  # characters of a value in a folder's name


@dataclasses.dataclass(frozen=True)
class Axis:
    """A field of the training config and the values that it takes, as texts."""

    path: str
    values: tuple[str, ...]


def axis(text: str, flag: str = "--grid") -> Axis:
    """The axis of `attack.threat.eps=2/255,4/255`, an argument of `flag`.

    Raises:
      UsageError: it is another text, or a value stands there twice.
    """
    path, equals, given = text.partition("=")
    path = path.strip().removeprefix("--").removeprefix("config.")
    if not equals or not path:
        raise UsageError(
            f"{flag} is {text!r}; give a field and its values: "
            f"{flag} attack.threat.eps=2/255,4/255"
        )
    if path == "seed":
        raise UsageError(f"{flag} seed=…: give --seeds, over which means are taken")
    return Axis(path, _distinct(split(given), f"{flag} {path}"))


def axes(texts: Sequence[str], flag: str = "--grid") -> list[Axis]:
    """The axes of all arguments of `flag`.

    Raises:
      UsageError: as `axis`, or a field has two.
    """
    found = [axis(text, flag) for text in texts]
    _distinct([one.path for one in found], flag)
    return found


def seeds(text: str) -> tuple[int, ...]:
    """The seeds of `0,1,2`.

    Raises:
      UsageError: one is no whole number, or stands there twice.
    """
    parts = _distinct(split(text), "--seeds")
    if not all(re.fullmatch(r"\d{1,10}", part) for part in parts):
        raise UsageError(f"--seeds is {text!r}; give whole numbers >= 0, as 0,1,2")
    return tuple(map(int, parts))


def split(text: str) -> list[str]:
    """The parts of `text` between commas that no bracket or quote holds together."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        else:
            depth += (character in _OPEN) - (character in _CLOSE)
            if character == "," and depth <= 0:
                parts.append("")
                continue
        parts[-1] += character
    return [part.strip() for part in parts]


def points(axes: Sequence[Axis]) -> list[dict[str, str]]:
    """Path -> value of every combination of values, the last axis fastest."""
    paths = [one.path for one in axes]
    every = itertools.product(*(one.values for one in axes))
    return [dict(zip(paths, values, strict=True)) for values in every]


def name(point: dict[str, str], seed: int) -> str:
    """The name of a combination's folder; the order of the axes does not matter."""
    parts = [f"{path}={_plain(value)}" for path, value in sorted(point.items())]
    return ",".join([*parts, f"seed={seed}"])


def shown(point: dict[str, str]) -> str:
    """A point as it is written in flags."""
    return " ".join(f"{path}={value}" for path, value in point.items())


def _plain(value):
    """A value with nothing that a path or a shell reads; of a long one its end."""
    text = re.sub(r"[^A-Za-z0-9.+-]+", "_", value).strip("_")
    return text[-_LONGEST:] or "none"


def _distinct(parts, where):
    twice = [part for part in parts if parts.count(part) > 1]
    if twice:
        raise UsageError(f"{where} names {twice[0]!r} twice; give it once")
    return tuple(parts)
