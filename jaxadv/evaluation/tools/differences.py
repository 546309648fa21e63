"""What is different between evaluations: fields of the trainings and of the suites."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxadv.specs import flat

ABSENT = "-"
_SUITE = "suite"


def fields(report: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted path -> value, of a report's training config and, below "suite", of what
    it says of its suite; an empty group is left out."""
    training = flat((report.get("model") or {}).get("training") or {})
    attacks = {k: a.get("spec") or {} for k, a in report["attacks"].items()}
    suite = {"seed": report["seed"]} if "seed" in report else {}
    suite = flat({_SUITE: {**suite, "attacks": attacks}})
    every = {**training, _SUITE: report[_SUITE], **suite}
    return {path: value for path, value in every.items() if value != {}}


def differing(found: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Path -> its value in each evaluation as text, for every field that differs.

    A field that some do not have does not differ for that alone: another object has
    other fields, and its name says so; an attack of other suites has its own column.

    Args:
      found: of each evaluation, its `fields`.
    """
    paths = dict.fromkeys(path for one in found for path in one)
    trained = [one for one in found if any(not _of_suite(path) for path in one)]
    chosen = [p for p in paths if _several(found, p) or _named_in_some(trained, p)]
    return {path: _texts([one.get(path, ABSENT) for one in found]) for path in chosen}


def _of_suite(path):
    return path.partition(".")[0] == _SUITE


def _several(found, path):
    values = [one[path] for one in found if path in one]
    return any(value != values[0] for value in values)


def _named_in_some(trained, path):
    """Whether an object is there in some trainings only, and what holds it in all."""
    if _of_suite(path) or path.split(".")[-1] != "name" or not _lacking(trained, path):
        return False
    keys = path.split(".")[:-1]
    above = [".".join([*keys[:i], "name"]) for i in range(1, len(keys))]
    return not any(_lacking(trained, name) for name in above)


def _lacking(trained, path):
    have = [path in one for one in trained]
    return any(have) and not all(have)


def _texts(values):
    """As short as tells them apart."""
    short = [_short(value) for value in values]
    long = [str(value) for value in values]
    return short if len(set(short)) == len(set(long)) else long


def _short(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
