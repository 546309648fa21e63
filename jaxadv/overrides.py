"""What flags mean beyond setting one field: other objects, and one network for all.

A flag that names another object, as `--config.attack.name=apgd`, makes its fields known
before the other flags are read. Values that the config has chosen stay where the new
object has such a field, unless they were the old one's own, as a file of weights is;
what stood at its default takes the new default.
"""

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxadv import completion, hints, specs
from jaxadv.schema import Kind


class Flag(NamedTuple):
    """An argument, or two, that set a field.

    Attributes:
      path: of the field, without `config`.
      value: as text.
      where: the numbers of the arguments.
    """

    path: str
    value: str
    where: tuple[int, ...]


def expand(
    config: Any, arguments: Sequence[str], kinds: Mapping[str, Kind]
) -> list[str]:
    """Puts the objects that flags name into `config`; returns the flags that remain.

    An empty name takes an object away. A network that stands at several places is one:
    flags for it at one place count for those that have none of their own.

    Args:
      config: completed; it is changed.
      arguments: of the command line.
      kinds: where specs stand in the config.

    Raises:
      UsageError: a name is unknown, or empty where an object is needed.
    """
    arguments = [*arguments, *_followers(config, arguments)]
    names = [flag for flag in _flags(arguments) if flag.path.endswith(".name")]
    spent: set[int] = set()
    with config.unlocked():
        for flag in sorted(names, key=lambda flag: flag.path.count(".")):
            known = _name(config, flag.path.split(".")[:-1], flag.value, kinds)
            if known and not flag.value:
                spent |= set(flag.where)
    config.lock()
    return [text for i, text in enumerate(arguments) if i not in spent]


def fractions(config: Any, arguments: Sequence[str]) -> list[str]:
    """`arguments` with every `8/255` in a field of numbers written as one number."""
    found = list(arguments)
    for flag in _flags(arguments):
        *above, last = flag.path.split(".")
        parent = _at(config, above)
        kind = parent.get_type(last) if parent and last in parent else None
        if kind in (float, tuple) and not set(flag.value) & set("'\""):
            value = re.sub(r"[^\s(),\[\]]+", _number, flag.value)
            place = flag.where[-1]
            found[place] = arguments[place].removesuffix(flag.value) + value
    return found


def unset(config: Any, arguments: Sequence[str]) -> list[str]:
    """Sets the fields that flags give as `None`; returns the flags that remain.

    Whether such a field may be None is for those to say who check the config.
    """
    found = _flags(arguments)
    final = {flag.path: flag.value for flag in found}
    spent: set[int] = set()
    for flag in found:
        *above, last = flag.path.split(".")
        parent, value = _at(config, above), final[flag.path]
        if parent is None or "None" not in (flag.value, value):
            continue
        if last in parent and not isinstance(parent[last], ConfigDict):
            spent |= set(flag.where)
            if value == "None":
                parent[last] = None
    return [text for i, text in enumerate(arguments) if i not in spent]


def _number(match):
    return str(hints.number(match[0]))


def unset_replaced(
    config: Any, given: Sequence[str], kinds: Mapping[str, Kind]
) -> None:
    """Unsets the fields that those of `given`, the paths of flags, replace."""
    for path in given:
        *keys, last = path.split(".")
        spec, kind = _at(config, keys), _kind(config, keys, kinds)[0]
        if spec is None or kind is None:
            continue
        field = _fields(kind, spec).get(last)
        other = "" if field is None else field.metadata.get("replaces", "")
        if other in spec and ".".join([*keys, other]) not in given:
            spec[other] = None


def _flags(arguments) -> list[Flag]:
    found = []
    for i, text in enumerate(arguments):
        match = re.fullmatch(r"--?config\.([^=]+)(?:=(.*))?", text, re.DOTALL)
        if match and match[2] is not None:
            found.append(Flag(match[1], match[2], (i,)))
        elif match and i + 1 < len(arguments):
            found.append(Flag(match[1], arguments[i + 1], (i, i + 1)))
    for flag in found:
        _check_path(flag.path)
    return found


def _check_path(path):
    """Raises UsageError for a path that no flag can have: it is read as Python."""
    for key in path.split("."):
        name = re.sub(r"(\[\d+\])+$", "", key)
        if not name.isidentifier() or keyword.iskeyword(name):
            raise specs.UsageError(
                f"--config.{path}: {key!r} can be no part of a flag; in flags a label "
                "has letters, digits and _ (others can stand in a config file)"
            )


def _name(config, keys, name, kinds) -> bool:
    """Makes the spec at `keys` one of `name`; whether a spec can stand there."""
    kind, labeled = _kind(config, keys, kinds)
    if kind is None:
        return False
    *above, last = keys
    parent, where = _at(config, above), ".".join(["config", *keys])
    old = parent.get(last)
    old = specs.plain(old) if isinstance(old, ConfigDict) else {}
    if name and old.get("name") != name:
        chosen = _chosen(old, specs.lookup(name, kind.registry, where), kind)
        parent[last] = completion.filled({"name": name, **chosen}, kind, where)
    elif not name and kind.needed:
        known = ", ".join(kind.registry)
        raise specs.UsageError(f"{where}.name is empty; give one of: {known}")
    elif not name and labeled:
        if last in parent:
            del parent[last]
    elif not name:
        parent[last] = {} if ".".join(keys) in kinds else None
    return True


def _kind(config, keys, kinds) -> tuple[Kind | None, bool]:
    """What can stand at `keys`, None for nothing, and whether its key is a label."""
    for pattern, kind in kinds.items():
        head = pattern.split(".")
        fits = len(keys) >= len(head) and all(
            key in (own, "*") for key, own in zip(head, keys, strict=False)
        )
        labeled = head[-1] == "*" and len(keys) == len(head)
        parent = _at(config, keys[: len(head) - 1]) if fits else None
        if parent is None or not (labeled or keys[len(head) - 1] in parent):
            continue
        part: Kind | None = kind
        for i in range(len(head), len(keys)):
            part = part and _part(part, _at(config, keys[:i]), keys[i])
        return part, labeled
    return None, False


def _part(kind, spec, key) -> Kind | None:
    """What the field `key` of a spec can hold, if it is a part."""
    fields = {} if spec is None else _fields(kind, spec)
    registry = fields[key].metadata.get("registry") if key in fields else None
    return None if registry is None else Kind(registry())


def _fields(kind, spec) -> dict[str, Any]:
    """Name -> field of the object that a spec names."""
    make = kind.registry.get(spec.get("name"))
    return {} if make is None else {f.name: f for f in specs.configurable(make)}


def _at(config, keys) -> Any:
    """The ConfigDict at `keys`, or None."""
    for key in keys:
        config = config.get(key) if isinstance(config, ConfigDict) else None
    return config if isinstance(config, ConfigDict) else None


def _chosen(old, make, kind):
    """The fields of a spec that are not at their defaults and that `make` has."""
    if old.get("name") not in kind.registry:
        return {}
    defaults = ConfigDict(completion.filled(old["name"], kind, ""))
    defaults = specs.plain(defaults)
    own = {name for name, f in _fields(kind, old).items() if "own" in f.metadata}
    fields = {field.name for field in specs.configurable(make)} | kind.beside.keys()
    return {k: v for k, v in old.items() if k in fields - own and v != defaults.get(k)}


def _followers(config, arguments) -> list[str]:
    """Flags for networks equal to one that has flags, where all of these agree."""
    networks, given = dict(_networks(config)), _flags(arguments)
    own = {
        path: {(f.path[len(path) :], f.value) for f in given if f.path.startswith(path)}
        for path in networks
    }
    found = []
    for path, spec in networks.items():
        equal = [own[other] for other in networks if networks[other] == spec]
        some = [flags for flags in equal if flags]
        if not own[path] and some and all(flags == some[0] for flags in some):
            found += [f"--config.{path}{rest}={value}" for rest, value in some[0]]
    return sorted(found)


def _networks(config, path=""):
    """(path with a dot at its end, spec) of every network that the config names."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            here = f"{path}{key}."
            if key in ("network", "saliency") and "name" in value:
                yield here, value.to_dict()
            yield from _networks(value, here)
