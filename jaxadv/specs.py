"""Checked dataclass fields, and building objects from plain config dictionaries.

Attacks, threats, objectives, defenses and models are dataclasses whose fields
say what they accept. The same declaration serves direct construction, building
from a config by registry name, and the help text.
"""

import copy
import dataclasses
import difflib
import functools
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxadv import hints, struct

Registry = Mapping[str, Callable[..., Any]]
_Entry = TypeVar("_Entry")


class UsageError(ValueError):
    """A mistake in a flag, a config field or the data, told in one line."""


class UsageWarning(UserWarning):
    """What is most likely a mistake, told in one line."""


def leaf(
    default: Any = dataclasses.MISSING, *, minimum=None, maximum=None, infinite=None,
    whole=None, binary=None, replaces=None,
):  # fmt: skip
    """A swept number: a pytree leaf, so it is traced and never recompiles.

    It is finite, unless `infinite` says that inf is a value of it as well. `whole`
    refuses fractions: the number counts something. `binary` takes 0 and 1 alone.
    A flag for it unsets the field that it `replaces`.
    """
    bounds = {"minimum": minimum, "maximum": maximum, "binary": binary}
    others = {"infinite": infinite, "whole": whole, "replaces": replaces}
    return _field(default, True, **bounds, **others)


def class_index():
    """A leaf that is the index of a class; the drivers compare it with the network."""
    return _field(dataclasses.MISSING, True, minimum=0, class_index=True)


def static(
    default: Any = dataclasses.MISSING, *, minimum=None, maximum=None, above=None,
    below=None, infinite=None, choices=None, unit=None, help=None,
):  # fmt: skip
    """A count or a choice: part of the compiled program, not of its inputs.

    Open bounds, `unit` and `help` are for the fields of configs: `jaxadv.schema`.
    """
    bounds = {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    words = {"choices": choices, "unit": unit, "help": help}
    return _field(default, False, **bounds, **words, infinite=infinite)


def given(default: Any = dataclasses.MISSING, *, minimum=None, choices=None):
    """A field that the code gives which builds the object; no config shows it."""
    return _field(default, True, given=True, minimum=minimum, choices=choices)


def bound():
    """A field that `bind` fills in; no config sets it."""
    return struct.field(default=None, metadata={"bound": True})


def mark(*, replaces=None, own=None) -> dict[str, Any]:
    """Marks an argument of a function, `Annotated[str, mark(…)]`.

    A flag for it unsets the argument that it `replaces`. What is the object's `own`
    says nothing of another one: a flag that names another leaves it behind.
    """
    return {k: v for k, v in (("replaces", replaces), ("own", own)) if v is not None}


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
    """Checks types, bounds and choices of `obj`'s fields; call in `__post_init__`.

    Values of traced and abstract numbers pass unseen: only concrete ones are compared.

    Raises:
      UsageError: a field is of another type than declared or outside its bounds or
        choices, or is a dataclass that jax may take for another one; see
        `jaxadv.struct`.
    """
    for field in fields(type(obj)):
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
        if "registry" in rule:
            _check_part(value, where)
        kinds = hints.members(field.type)
        optional = value is None and types.NoneType in kinds
        if _numeric(kinds, bool) and not optional:
            _check_type(value, kinds, where, rule.get("pytree_node", True))
        check_bounds(value, field, where)


def _check_part(value, where):
    if isinstance(value, type):
        name = value.__name__
        raise UsageError(f"{where} is the class {name}; give one made of it: {name}(…)")
    if isinstance(value, (str, numbers.Number)):
        raise UsageError(f"{where} is {value!r}; it must be an object, not a value")


def is_number(field: dataclasses.Field) -> bool:
    """Whether a field is declared as one number."""
    return _numeric(hints.members(field.type))


def _numeric(kinds, *others) -> bool:
    """Whether all kinds, and one at least, are numbers or of `others`; or None."""
    kinds = kinds - {types.NoneType}
    return bool(kinds) and kinds <= {float, int, *others}


def _check_type(value, kinds, where, swept):
    shape = getattr(value, "shape", None)
    if shape:
        path = f"….{where.rpartition('.')[2]}"
        hint = f"; give one for each image as per_image={{'{path}': values}}"
        raise UsageError(
            f"{where} has shape {tuple(shape)}; it must be one number"
            + (hint if swept else "")
        )
    if bool in kinds:
        wanted, fits = "True or False", _has_kind(value, "b")
    elif float in kinds:
        wanted, fits = "a number", _has_kind(value, "iuf")
    else:
        wanted, fits = "a whole number", _has_kind(value, "iu")
    if not fits:
        hint = ", without quotes" if isinstance(value, str) else ""
        raise UsageError(f"{where} is {value!r}; it must be {wanted}{hint}")


def _has_kind(value, kinds):
    """Whether a scalar, which may be traced, is of a NumPy kind in `kinds`."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None:
        # NumPy's kind of bfloat16 is V.
        return dtype.kind in kinds or (
            "f" in kinds and jnp.issubdtype(dtype, jnp.floating)
        )
    if isinstance(value, bool):
        return "b" in kinds
    integer = isinstance(value, numbers.Integral)
    real = isinstance(value, numbers.Real) and "f" in kinds
    return real or (integer and "i" in kinds)


def check_bounds(value: Any, field: dataclasses.Field, where: str) -> None:
    """Checks numbers of any shape as `field` declares them; `where` names them.

    Raises:
      UsageError: one is NaN, infinite, or outside the bounds.
    """
    rule = field.metadata
    low, high = rule.get("minimum"), rule.get("maximum")
    several = isinstance(value, (tuple, list)) and all(
        isinstance(v, numbers.Real) for v in value
    )
    if not (several or isinstance(value, (numbers.Real, np.ndarray, jax.Array))):
        return
    bounded = low is not None or high is not None or "binary" in rule
    if isinstance(value, Tracer) or not (bounded or is_number(field)):
        return
    value = np.asarray(value)
    least = "a number" if low is None else f">= {low}"
    refused = [(np.isnan(value), least)]
    if low is not None:
        refused.append((value < low, least))
    if high is not None:
        refused.append((value > high, f"<= {high}"))
    if "infinite" not in rule:
        refused.append((np.isinf(value), "finite"))
    if "binary" in rule:
        refused.append(((value != 0) & (value != 1), "0 or 1"))
    if "whole" in rule:
        refused.append((value != np.round(value), "a whole number"))
    for bad, wanted in refused:
        if np.any(bad):
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            place = f" at {first[0] if len(first) == 1 else first}" if first else ""
            told = f"{value[first]:.6g}" if value.dtype.kind == "f" else value[first]
            raise UsageError(f"{where} is {told}{place}; it must be {wanted}")


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


def lookup(name: Any, registry: Mapping[str, _Entry], where: str) -> _Entry:
    """The entry of a registry, usually a constructor, called `name`.

    Raises:
      UsageError: the name is unknown, and the message lists the known ones; or its
        package cannot be imported.
    """
    if not isinstance(name, str) or name not in registry:
        near = difflib.get_close_matches(str(name), registry, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        known = ", ".join(sorted(registry))
        raise UsageError(f"{where}: unknown name {name!r}{hint}; known: {known}")
    try:
        return registry[name]
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


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
    given = dict(spec)
    if "name" not in given:
        raise UsageError(f"{where}: the field 'name' is missing")
    make = lookup(given.pop("name"), registry, where)
    return construct(make, given, where)


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


def construct(make: Callable[..., Any], given: Mapping[str, Any], where: str) -> Any:
    """Calls `make(**given)` after checking names and types; see `build`."""
    declared = {f.name: f for f in configurable(make)}
    built = {}
    for key, value in known(given, declared, where).items():
        field = declared[key]
        if value is None and _required(field):
            raise UsageError(f"{where}.{key} is missing; it has no default")
        if "registry" in field.metadata and not hasattr(value, "__dataclass_fields__"):
            built[key] = _build_part(value, field.metadata["registry"](), where, key)
        else:
            built[key] = _typed(value, field, f"{where}.{key}")
    try:
        made = make(**built)
        if dataclasses.is_dataclass(made) and not hasattr(made, "__post_init__"):
            check(made)
        return made
    except UsageError as error:
        raise type(error)(f"{where}: {error}") from None
    except TypeError as error:
        _, lacks, names = str(error).partition(" required positional argument")
        told = f"it lacks {names.partition(': ')[2]}" if lacks else str(error)
        raise UsageError(f"{where}: {told}") from None


@functools.cache
def fields(make: Callable[..., Any]) -> tuple[dataclasses.Field, ...]:
    """Fields of a dataclass, or arguments of a function; none has a text for a type."""
    if dataclasses.is_dataclass(make):
        declared: Any = map(copy.copy, dataclasses.fields(make))
    else:
        declared = map(_argument, inspect.signature(make).parameters.values())
    found = tuple(declared)
    for field in found:
        own = Any if isinstance(field.type, str) else field.type
        field.type = hints.of(make).get(field.name, own)
    return found


def configurable(make: Callable[..., Any]) -> list[dataclasses.Field]:
    """The fields of a dataclass, or keyword arguments of a function, to configure."""
    if not dataclasses.is_dataclass(make):
        return list(fields(make))
    hidden = ("parent", "name")  # of linen modules
    return [
        field
        for field in fields(make)
        if field.init and field.name not in hidden and "bound" not in field.metadata
    ]


def _required(field):
    defaults = (field.default, field.default_factory)
    optional = types.NoneType in hints.members(field.type)
    return not optional and all(d is dataclasses.MISSING for d in defaults)


def _argument(parameter):
    given = parameter.default is not inspect.Parameter.empty
    marks = getattr(parameter.annotation, "__metadata__", ())
    field: Any = dataclasses.field(
        default=parameter.default if given else dataclasses.MISSING,
        metadata=next((mark for mark in marks if isinstance(mark, Mapping)), None),
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
    kinds = hints.members(field.type)
    several = next((k for k in kinds if typing.get_origin(k) is tuple), None)
    if isinstance(value, (tuple, list)) and several:
        kind, *rest = typing.get_args(several)
        # Pairs and longer ones of several kinds are left to the constructor.
        return tuple(_item(v, kind, where) if rest == [...] else v for v in value)
    if isinstance(value, float) and not math.isfinite(value):
        # An infinite default means that there is no limit.
        if float not in kinds or value != field.default:
            raise UsageError(f"{where} is {value}; it must be a finite number")
    fits, value = hints.convert(value, kinds)
    if not fits:
        large = isinstance(value, int) and abs(value) > hints.LARGEST
        most = f", at most {hints.LARGEST}" if large else ""
        label = getattr(field.type, "__name__", field.type)
        raise UsageError(f"{where} is {value!r}; it must be of type {label}{most}")
    return tuple(value) if isinstance(value, list) else value


def _item(value, kind, where):
    fits, value = hints.convert(value, hints.members(kind))
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        label = getattr(kind, "__name__", kind)
        raise UsageError(f"{where} holds {value!r}; all must be of type {label}")
    return value
