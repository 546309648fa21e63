"""Checked dataclass fields, and building objects from plain config dictionaries.

Attacks, threats, objectives, defenses and models are dataclasses whose fields
say what they accept. The same declaration serves direct construction, building
from a config by registry name, and the help text.
"""

import dataclasses
import difflib
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxadv import struct

Registry = Mapping[str, Callable[..., Any]]
LARGEST = 2**31 - 1  # of the whole numbers that devices count with


class UsageError(ValueError):
    """A mistake in a flag, a config field or the data, told in one line."""


def leaf(default: Any = dataclasses.MISSING, *, minimum=None, maximum=None, whole=None):
    """A swept number: a pytree leaf, so it is traced and never recompiles.

    `whole` refuses fractions: the number counts something.
    """
    return _field(default, True, minimum=minimum, maximum=maximum, whole=whole)


def static(
    default: Any = dataclasses.MISSING, *, minimum=None, maximum=None, choices=None
):
    """A count or a choice: part of the compiled program, not of its inputs."""
    return _field(default, False, minimum=minimum, maximum=maximum, choices=choices)


def bound():
    """A field that `bind` fills in; no config sets it."""
    return struct.field(default=None, metadata={"bound": True})


def part(registry: Callable[[], Registry], default: Any = dataclasses.MISSING):
    """A field holding another object, built from its own spec by `registry()`."""
    return _field(default, True, registry=registry)


def _field(default, pytree_node, **metadata):
    metadata = {k: v for k, v in metadata.items() if v is not None}
    if isinstance(default, (dict, list)) or dataclasses.is_dataclass(default):
        kwargs = {"default_factory": lambda: default}
    else:
        kwargs = {"default": default}
    return struct.field(pytree_node=pytree_node, metadata=metadata, **kwargs)


def check(obj: Any) -> None:
    """Checks the bounds and choices of `obj`'s fields; call in `__post_init__`.

    Traced and abstract values pass unseen: only concrete numbers are compared.

    Raises:
      UsageError: a field is outside its declared bounds or choices, or is a dataclass
        that jax may take for another one; see `jaxadv.struct`.
    """
    for field in dataclasses.fields(obj):
        value, rule = getattr(obj, field.name), field.metadata
        where = f"{type(obj).__name__}.{field.name}"
        for piece in value if isinstance(value, tuple) else (value,):
            if hasattr(piece, "_flax_dataclass"):
                raise UsageError(
                    f"{where} holds a flax.struct.dataclass, which jax may take for "
                    f"another; make {type(piece).__name__} a jaxadv.struct.dataclass"
                )
        if "choices" in rule and value not in rule["choices"]:
            allowed = ", ".join(map(repr, rule["choices"]))
            raise UsageError(f"{where} is {value!r}; allowed: {allowed}")
        _check_bounds(value, rule.get("minimum"), rule.get("maximum"), where)
        if "whole" in rule:
            _check_whole(value, where)


def _check_bounds(value, low, high, where):
    several = isinstance(value, (tuple, list)) and all(
        isinstance(v, numbers.Real) for v in value
    )
    if not (several or isinstance(value, (numbers.Real, np.ndarray, jax.Array))):
        return
    if isinstance(value, Tracer) or (low is None and high is None):
        return
    value = np.asarray(value)
    if np.any(np.isnan(value)) or (low is not None and np.any(value < low)):
        raise UsageError(f"{where} is {value}; it must be >= {low}")
    if high is not None and np.any(value > high):
        raise UsageError(f"{where} is {value}; it must be <= {high}")


def _check_whole(value, where):
    if isinstance(value, Tracer):
        return
    if isinstance(value, (numbers.Real, np.ndarray, jax.Array)):
        value = np.asarray(value)
        if np.any(value != np.round(value)):
            raise UsageError(f"{where} is {value}; it must be a whole number")


def plain(config: Any) -> Any:
    """Dictionaries, tuples and numbers in place of ConfigDicts and lists."""
    if hasattr(config, "to_dict"):
        config = config.to_dict()
    if isinstance(config, Mapping):
        return {key: plain(value) for key, value in config.items()}
    if isinstance(config, (tuple, list)):
        return tuple(plain(value) for value in config)
    return config


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value of every field."""
    rows = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        nested = isinstance(value, Mapping) and value
        rows.update(flat(value, f"{path}.") if nested else {path: value})
    return rows


def lookup(name: Any, registry: Registry, where: str) -> Callable[..., Any]:
    """The registered constructor called `name`.

    Raises:
      UsageError: the name is unknown; the message lists the known ones.
    """
    if not isinstance(name, str) or name not in registry:
        near = difflib.get_close_matches(str(name), registry, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        known = ", ".join(sorted(registry))
        raise UsageError(f"{where}: unknown name {name!r}{hint}; known: {known}")
    return registry[name]


def build(spec: Mapping[str, Any], registry: Registry, where: str) -> Any:
    """Builds the object that a config dictionary describes.

    Args:
      spec: `name` is looked up in `registry`; the rest are constructor fields.
        Fields declared with `part` are built in turn.
      registry: name -> dataclass, or function with typed keyword arguments.
      where: the config path of `spec`, for error messages.

    Raises:
      UsageError: unknown name or field, missing field, wrong type, bad value.
    """
    if not isinstance(spec, Mapping):
        raise UsageError(f"{where} is {spec!r}; it must be a spec: {{'name': …}}")
    fields = dict(spec)
    if "name" not in fields:
        raise UsageError(f"{where}: the field 'name' is missing")
    make = lookup(fields.pop("name"), registry, where)
    return construct(make, fields, where)


def known(
    given: Mapping[str, Any], allowed: Mapping[str, Any], where: str
) -> Mapping[str, Any]:
    """`given`, whose keys are all in `allowed`.

    Raises:
      UsageError: one is not.
    """
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UsageError(
                f"{where}: unknown field {key!r}{hint}; allowed: {', '.join(allowed)}"
            )
    return given


def construct(make: Callable[..., Any], fields: Mapping[str, Any], where: str) -> Any:
    """Calls `make(**fields)` after checking names and types; see `build`."""
    declared = {f.name: f for f in configurable(make)}
    built = {}
    for key, value in known(fields, declared, where).items():
        field = declared[key]
        if "registry" in field.metadata and not hasattr(value, "__dataclass_fields__"):
            built[key] = _build_part(value, field.metadata["registry"](), where, key)
        else:
            built[key] = _typed(value, field, f"{where}.{key}")
    try:
        return make(**built)
    except UsageError as error:
        raise type(error)(f"{where}: {error}") from None
    except TypeError as error:
        raise UsageError(f"{where}: {error}") from None


def configurable(make: Callable[..., Any]) -> list[dataclasses.Field]:
    """The fields of a dataclass, or keyword arguments of a function, to configure."""
    if not dataclasses.is_dataclass(make):
        return [_argument(p) for p in inspect.signature(make).parameters.values()]
    known: Any = dataclasses.fields(make)
    hidden = ("parent", "name")
    return [
        field
        for field in known
        if field.init and field.name not in hidden and "bound" not in field.metadata
    ]


def _argument(parameter):
    given = parameter.default is not inspect.Parameter.empty
    field: Any = dataclasses.field(
        default=parameter.default if given else dataclasses.MISSING
    )
    field.name, field.type = parameter.name, parameter.annotation
    return field


def _build_part(value, registry, where, key):
    if value is None:
        return None
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, (list, tuple)):
        specs = [{"name": v} if isinstance(v, str) else v for v in value]
        return tuple(
            build(v, registry, f"{where}.{key}[{i}]") for i, v in enumerate(specs)
        )
    return build(value, registry, f"{where}.{key}")


def _typed(value, field, where):
    """`value` as the annotation of `field` asks, or an error that names it."""
    kinds = str(field.type)
    if isinstance(value, (tuple, list)) and "tuple[" in kinds:
        inner = kinds.split("tuple[")[1].split("]")[0]
        several = inner.endswith("...")
        # Pairs and longer ones of several kinds are left to the constructor.
        return tuple(_item(v, inner, where) for v in value) if several else tuple(value)
    if isinstance(value, float) and not math.isfinite(value):
        # An infinite default means that there is no limit.
        if "float" not in kinds or value != field.default:
            raise UsageError(f"{where} is {value}; it must be a finite number")
    fits, value = _as(value, kinds)
    if not fits:
        label = getattr(field.type, "__name__", kinds)
        large = isinstance(value, int) and abs(value) > LARGEST
        most = f", at most {LARGEST}" if large else ""
        raise UsageError(f"{where} is {value!r}; it must be of type {label}{most}")
    return value


def _item(value, kinds, where):
    fits, value = _as(value, kinds)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        kind = kinds.split(",")[0]
        raise UsageError(f"{where} holds {value!r}; all must be of type {kind}")
    return value


def _as(value: Any, kinds: str) -> tuple[bool, Any]:
    """Whether `value` is of one of the `kinds`, and itself as that one."""
    wants_bool, wants_str = "bool" in kinds, "str" in kinds
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if is_number and isinstance(value, int) and abs(value) > LARGEST:
        return False, value  # neither float32 nor int32 has it
    if "float" in kinds and is_number:
        return True, float(value)
    if "int" in kinds and is_number and float(value).is_integer():
        return True, int(float(value))
    simple = any(kind in kinds for kind in ("float", "int", "bool", "str"))
    fits = (
        (value is None and "None" in kinds)
        or not simple
        or (wants_bool and isinstance(value, bool))
        or (wants_str and isinstance(value, str))
    )
    return fits, value
