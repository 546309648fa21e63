"""Configs that are declared once, as dataclasses, and all that is read off them.

A field is a `specs.static` with its default, bounds, choices, unit and help. One whose
type is a dataclass is a group of fields; a `spec` describes an object by its registry
name. From these come the config with its defaults, the checks, the help and the tables.
"""

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any

import numpy as np
from ml_collections import ConfigDict, config_dict

from jaxadv import hints, specs
from jaxadv.specs import UsageError

SEEDS = 2**32  # JAX and NumPy take the seeds below; larger ones would wrap around
_PLAIN = (tuple, float, int, str, bool)
Spec = Mapping | str
SPEC = "a spec: a name, or {'name': …} and more"
Declared = dataclasses.Field


@dataclasses.dataclass(frozen=True)
class Kind:
    """What the specs at one place of a config describe.

    Attributes:
      registry: name -> what can stand there.
      own: defaults that hold there, in place of the objects' own.
      needed: whether something must stand there.
      beside: name -> field of what is said there beside the object's own fields.
    """

    registry: specs.Registry
    own: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needed: bool = False
    beside: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def spec(kind: Kind, default: Any = None, *, labeled: bool = False, help: str) -> Any:
    """A field with the spec of an object, or (`labeled`) with label -> spec."""
    metadata = {"kind": kind, "labeled": labeled, "help": help}
    return dataclasses.field(default_factory=lambda: default, metadata=metadata)


def group(make: Any, help: str) -> Any:
    """A field that is the group of fields which a dataclass declares."""
    return specs.static(make(), help=help)


def seed(help: str) -> Any:
    """A field with a seed."""
    return specs.static(0, minimum=0, maximum=SEEDS - 1, help=help)


def rows(make: Any, prefix: str = "") -> Iterator[tuple[str, Declared]]:
    """Yields dotted path -> field of a config and, after each group, of its fields."""
    for field in specs.fields(make):
        yield f"{prefix}{field.name}", field
        if group := _group(field):
            yield from rows(group, f"{prefix}{field.name}.")


def kinds(make: Any) -> dict[str, Kind]:
    """Path of every spec -> its kind; `*` is any label."""
    return {
        path + (".*" if field.metadata["labeled"] else ""): field.metadata["kind"]
        for path, field in rows(make)
        if "kind" in field.metadata
    }


def _group(field) -> Any:
    """The dataclass of a group's fields, or None."""
    return next(filter(dataclasses.is_dataclass, hints.members(field.type)), None)


def default(field: Declared) -> Any:
    """The default of a field; None where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def fill(make: Any, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`given`, and the default of every declared field that it leaves open.

    Groups are filled in too, and are complete where None is given; fractions such as
    8/255 become numbers.
    """
    full = dict(given or {})
    for field in specs.fields(make):
        value, group = full.get(field.name), _group(field)
        if group and (value is None or isinstance(value, Mapping)):
            full[field.name] = fill(group, value)
        elif not group:
            value = full.get(field.name, default(field))
            full[field.name] = _numbers(value, hints.members(field.type))
    return full


def config(make: Any) -> ConfigDict:
    """A locked config of all defaults; what is None has the declared type."""
    return ConfigDict(_typed(make)).lock()


def _typed(make):
    found = {}
    for field in specs.fields(make):
        found[field.name] = typed(default(field), hints.members(field.type))
        if group := _group(field):
            found[field.name] = _typed(group)
    return found


def typed(value: Any, kinds: frozenset[Any]) -> Any:
    """A field's value in a config: a placeholder of its type in place of None."""
    plain = {typing.get_origin(kind) or kind: kind for kind in kinds}
    if Mapping in plain and isinstance(value, Mapping):
        inner = typing.get_args(plain[Mapping])[1:]
        kinds = hints.members(inner[0]) if inner else frozenset()
        return {key: typed(v, kinds) if inner else v for key, v in value.items()}
    if value is None:
        if Mapping in plain:
            return None
        return config_dict.placeholder(next((t for t in _PLAIN if t in plain), object))
    value = hints.number(value) if float in plain and str not in plain else value
    if float in plain and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def check(make: Any, given: Mapping[str, Any], where: str) -> None:
    """Checks every field of a config and of its groups.

    Raises:
      UsageError: a field is missing, unknown, or not as it is declared.
    """
    declared = {field.name: field for field in specs.fields(make)}
    specs.known(given, declared, where)
    for name, field in declared.items():
        path, words = f"{where}.{name}", wanted(field)
        if name not in given:
            raise UsageError(f"{path} is missing; it must be {words}")
        if not _fits(given[name], field):
            choices = ", ".join(field.metadata.get("choices", ()))
            rule = f"allowed: {choices}" if choices else f"it must be {words}"
            raise UsageError(f"{path} is {given[name]!r}; {rule}")
        if group := _group(field):
            check(group, given[name], path)


def _numbers(value, kinds):
    """`value` with its fractions as numbers where a number is declared."""
    items = [typing.get_args(kind)[0] for kind in kinds if _several(kind)]
    if items and isinstance(value, (tuple, list)):
        return tuple(_numbers(v, hints.members(items[0])) for v in value)
    return hints.number(value) if float in kinds and str not in kinds else value


def _several(kind) -> bool:
    return typing.get_origin(kind) is tuple


def _fits(value, field) -> bool:
    if "choices" in field.metadata:
        return value in field.metadata["choices"]
    return any(_fit(value, kind, field.metadata) for kind in hints.members(field.type))


def _fit(value: Any, kind: Any, rule: Mapping[str, Any]) -> bool:
    """Whether `value` is of a type and within a field's bounds."""
    if kind is Any or kind is NoneType:
        return kind is Any or value is None
    if kind is int:
        low, high = rule.get("minimum", -math.inf), rule.get("maximum", hints.LARGEST)
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and low <= value <= high
    if kind is float:
        real = isinstance(value, int | float | np.number)
        return real and not isinstance(value, bool) and _within(value, rule)
    if kind is str:
        return isinstance(value, str) and bool(value.strip())
    if _several(kind):
        inner = typing.get_args(kind)[0]
        several = isinstance(value, (tuple, list)) and len(value) > 0
        return several and all(_fit(v, inner, rule) for v in value)
    if kind is tuple:
        return isinstance(value, (tuple, list))
    if kind is bool:
        return isinstance(value, bool)
    return isinstance(value, Mapping)


def _within(value, rule) -> bool:
    if math.isinf(value):
        return "infinite" in rule and bool(value > 0)
    low, high = rule.get("minimum", -math.inf), rule.get("maximum", math.inf)
    above, below = rule.get("above", -math.inf), rule.get("below", math.inf)
    return bool(low <= value <= high and above < value < below)


def wanted(field: Declared) -> str:
    """What a field may hold, in words."""
    kinds, rule = hints.members(field.type), field.metadata
    words = [_words(kind, rule) for kind in kinds - {NoneType}]
    if {Mapping, str} <= kinds:
        words = [SPEC]
    if "choices" in rule:
        words = ["one of: " + ", ".join(rule["choices"])]
    return words[0] + (", or None" if NoneType in kinds else "")


def _words(kind, rule) -> str:
    if kind is int:
        high = rule.get("maximum", hints.LARGEST)
        upper = "< 2**31" if high == hints.LARGEST else f"<= {high}"
        return f"a whole number >= {rule['minimum']} and {upper}"
    if kind is float:
        signs = {">=": "minimum", ">": "above", "<": "below", "<=": "maximum"}
        bounds = [f"{sign} {rule[k]:g}" for sign, k in signs.items() if k in rule]
        words = "a number" if "infinite" in rule else "a finite number"
        return " ".join((words, " and ".join(bounds))).strip()
    if _several(kind):
        return f"a tuple of at least one, each {_words(typing.get_args(kind)[0], rule)}"
    names = {str: "a name that is not empty", tuple: "a tuple", bool: "True or False"}
    return names.get(kind, "anything" if kind is Any else "a group of fields")


def explain(make: Any) -> dict[str, str]:
    """Path of every field -> its sentence, with unit, choices and default."""
    return {path: _sentence(field) for path, field in rows(make)}


def _sentence(field) -> str:
    rule = field.metadata
    found = [rule["help"]]
    if "unit" in rule:
        found.append(f"in {rule['unit']}")
    if "choices" in rule:
        found.append("one of " + ", ".join(rule["choices"]))
    if not _group(field):
        found.append(f"default: {_shown(field)}")
    return "; ".join(found)


def _shown(field) -> str:
    """A default as it is told: a spec by its name, nothing by "none"."""
    value = default(field)
    if value is None or value == {}:
        return "none"
    return repr(value.get("name", value) if isinstance(value, Mapping) else value)


def table(make: Any) -> str:
    """The fields of a config as a Markdown table."""
    lines = ["| field | default | values | meaning |", "| --- | --- | --- | --- |"]
    for path, field in rows(make):
        shown = "" if _group(field) else f"`{_shown(field)}`"
        unit = f", in {field.metadata['unit']}" if "unit" in field.metadata else ""
        cells = (f"`{path}`", shown, wanted(field) + unit, field.metadata["help"])
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)
