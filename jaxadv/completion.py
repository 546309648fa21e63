"""Specs of objects with every field that they leave open, so that flags can set it."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxadv import docstrings, hints, schema, specs
from jaxadv.schema import Kind


def complete(config: ConfigDict, kinds: Mapping[str, Kind]) -> ConfigDict:
    """`config` with every unnamed field of its specs filled in by its default.

    So all of them are seen by `--help`, can be overridden, and have a type; those that
    have no default are None.

    Raises:
      UsageError: unknown name.
    """
    with config.unlocked():
        for pattern, kind in kinds.items():
            for path, parent, key in list(_places(config, pattern.split("."))):
                if given := parent[key]:
                    del parent[key]  # a name becomes a group of another type
                    parent[key] = filled(given, kind, f"config{path}")
    return config.lock()


def _places(config, keys, path="") -> Iterator[tuple[str, Any, str]]:
    """(path, parent, key) of all fields that `keys`, of which one may be *, name."""
    if not isinstance(config, ConfigDict):
        return
    first, *rest = keys
    for key in config if first == "*" else (first,):
        here = f"{path}.{key}"
        if key in config and rest:
            yield from _places(config[key], rest, here)
        elif key in config:
            yield here, config, key


def explain(config: ConfigDict, kinds: Mapping[str, Kind]) -> dict[str, str]:
    """Path of every field of a part that the config names -> its sentence."""
    found: dict[str, str] = {}
    for pattern, kind in kinds.items():
        for path, parent, key in _places(config, pattern.split(".")):
            here = path.removeprefix(".")
            found |= _words(parent[key], kind.registry, here)
            found |= {
                f"{here}.{name}": field.metadata["help"]
                for name, field in kind.beside.items()
            }
    return found


def _words(spec, registry, path) -> dict[str, str]:
    name = spec.get("name") if isinstance(spec, ConfigDict) else None
    if name not in registry:
        return {}
    make, found = registry[name], {}
    words = docstrings.attributes(make)
    for field in specs.configurable(make):
        here, own = f"{path}.{field.name}", words.get(field.name, "").rstrip(".")
        choices = ", ".join(map(str, field.metadata.get("choices", ())))
        found[here] = "; ".join(filter(None, [own, choices and f"one of {choices}"]))
        if "registry" in field.metadata:
            inner = spec.get(field.name)
            found[f"{here}.name"] = found[here]
            found |= _words(inner, field.metadata["registry"](), here)
    return found


def filled(spec: Any, kind: Kind, where: str) -> dict[str, Any]:
    """A spec, or a name alone, with every field that it leaves open.

    Raises:
      UsageError: it is something else, or has no name, or an unknown one.
    """
    if not isinstance(spec, (ConfigDict, Mapping, str)):
        raise specs.UsageError(f"{where} is {spec!r}; it must be {schema.SPEC}")
    spec = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "name" not in spec:
        raise specs.UsageError(f"{where}: the field 'name' is missing")
    make = specs.lookup(spec["name"], kind.registry, where)
    beside = {
        name: schema.typed(schema.default(field), hints.members(int | None))
        for name, field in kind.beside.items()
    }
    return beside | defaults(make, spec, where, kind.own)


def defaults(make, given=None, where="", own=None) -> dict[str, Any]:
    """The fields of dataclass `make`, those of `given` first, as config values.

    Those of `own` come before its defaults.
    """
    given, own = dict(given or {}), own or {}
    found = dict(given)
    for field in specs.configurable(make):
        if "given" in field.metadata:
            continue
        value = given.get(field.name, own.get(field.name, schema.default(field)))
        if "registry" in field.metadata:
            registry = field.metadata["registry"]()
            found[field.name] = _part(value, registry, f"{where}.{field.name}")
            continue
        if isinstance(value, (np.dtype, type, type(jnp.float32))):
            value = jnp.dtype(value).name  # of a dtype; no config holds one
        found[field.name] = schema.typed(value, hints.members(field.type))
    return found


def _part(value, registry, where):
    """The spec of a nested part, which may be an object that is a default."""
    if isinstance(value, (tuple, list)):
        # What a list holds is no flag: only objects are turned into specs.
        objects = map(dataclasses.is_dataclass, value)
        some = zip(value, objects, strict=True)
        return tuple(_part(v, registry, where) if o else v for v, o in some)
    if dataclasses.is_dataclass(value):
        return filled(_spec(value, registry), Kind(registry), where)
    return filled(value, Kind(registry), where) if value else value


def _spec(value, registry):
    """The spec of an object, with its own values."""
    fields = [field.name for field in specs.configurable(type(value))]
    return {"name": registry.name_of(type(value))} | {
        k: getattr(value, k) for k in fields
    }
