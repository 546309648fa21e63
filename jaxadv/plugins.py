"""Registries of parts: our own by name, those of other packages by name or by path.

A path is `package.module:Name`, which is imported and never evaluated. A package gives
its parts short names by entry points of the group `jaxadv.plugins`: `attacks.momentum =
"my_package.attacks:Momentum"` makes `momentum` a name of an attack once the package is
installed.
"""

import collections
import dataclasses
import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from flax.linen import Module

from jaxadv import protocols, struct
from jaxadv.specs import UsageError, UsageWarning

GROUP = "jaxadv.plugins"
_PATH = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


class Registry(collections.UserDict):
    """Name, or path, -> constructor of one kind of parts.

    Iterating yields our own names and those of installed packages, whose parts are
    imported when they are asked for.
    """

    def __init__(
        self,
        kind: str,
        own: Mapping[str, Any],
        noun: Any = None,
        made: type | None = None,
    ):
        """Registers our own parts.

        Args:
          kind: what the parts are, in the plural, as in the names of entry points.
          own: name -> dataclass, or function with typed keyword arguments.
          noun: the protocol of `protocols` that what is constructed has.
          made: names stand for objects of this class, and not for constructors.
        """
        super().__init__(own)
        self.kind, self.noun, self.made = kind, noun, made

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return name in self.data or name in self.installed() or is_path(name)

    def __missing__(self, name: Any) -> Callable[..., Any]:
        """What a package has.

        Raises:
          UsageError: there is no such package or part, or it fails when imported.
        """
        entries = self.installed()
        if isinstance(name, str) and name in entries:
            return self._load(
                entries[name].value, f"{name!r} of {_package(entries[name])}"
            )
        if isinstance(name, str) and is_path(name):
            return self._load(name, repr(name))
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from self.data
        yield from self.installed()

    def __len__(self) -> int:
        return len(self.data) + len(self.installed())

    def installed(self) -> dict[str, importlib.metadata.EntryPoint]:
        """Name -> entry point of what installed packages add to these parts."""
        return _installed(self.kind, frozenset(self.data))

    def told(self, name: str) -> str:
        """What a part is, in a line; of another package also whose it is."""
        try:
            part = self[name]
            text = getattr(part, "about", None) or part.__doc__ or ""
            text = text.strip().partition("\n")[0]
        except UsageError as error:
            text = str(error)
        entry = None if name in self.data else self.installed().get(name)
        return text if entry is None else f"{text} ({_package(entry)})"

    def name_of(self, make: Any) -> str:
        """The name, or else the path, of a part's class."""
        own = (name for name, one in self.data.items() if one is make)
        return next(own, f"{make.__module__}:{make.__qualname__}")

    def _load(self, path: str, told: str) -> Callable[..., Any]:
        make = _imported(path, told)
        if self.made is not None and not isinstance(make, self.made):
            wanted = f"{self.made.__module__}.{self.made.__name__}"
            raise UsageError(
                f"{told} is a {type(make).__name__}; it must be a {wanted}"
            )
        if self.made is not None:
            return make
        if isinstance(make, type) and dataclasses.is_dataclass(make):
            self._check(make, told)
            return make
        if isinstance(make, type) or not callable(make):
            what = "a class" if isinstance(make, type) else f"a {type(make).__name__}"
            raise UsageError(
                f"{told} is {what}; it must be a jaxadv.struct.dataclass, or a "
                "function that makes one"
            )

        @functools.wraps(make)
        def checked(*args, **kwargs):
            try:
                made = make(*args, **kwargs)
            except UsageError:
                raise
            except Exception as error:  # whatever the package raises
                raise UsageError(
                    f"{told} fails: {type(error).__name__}: {error}"
                ) from error
            if self.noun is not None and not dataclasses.is_dataclass(made):
                raise UsageError(
                    f"{told} makes a {type(made).__name__}; it must make a "
                    "jaxadv.struct.dataclass"
                )
            self._check(type(made), told)
            return made

        return checked

    def _check(self, make: type, told: str) -> None:
        if self.noun is None or make in self.data.values():
            return
        if not issubclass(make, Module) and not struct.is_pytree(make):
            raise UsageError(
                f"{told}: make {make.__name__} a jaxadv.struct.dataclass, so that jax "
                "can trace it"
            )
        lacking = protocols.lacking(make, self.noun)
        if lacking:
            raise UsageError(
                f"{told}: {make.__name__} has no {', '.join(lacking)}; what "
                f"{self.kind} have is told by jaxadv.protocols.{self.noun.__name__}"
            )


def is_path(name: str) -> bool:
    """Whether a name is a path `package.module:Name`."""
    return _PATH.fullmatch(name) is not None


@functools.cache
def _entries() -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=GROUP))


@functools.cache
def _installed(kind, own) -> dict[str, importlib.metadata.EntryPoint]:
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for entry in sorted(_entries(), key=lambda entry: (entry.name, entry.value)):
        group, _, name = entry.name.partition(".")
        if group != kind:
            continue
        other = "jaxadv" if name in own else name in found and _package(found[name])
        if other:
            warnings.warn(
                f"{kind}: {name!r} of {_package(entry)} is not taken, because {other} "
                f"has that name; give {entry.value} in its place",
                UsageWarning,
                stacklevel=2,
            )
        else:
            found[name] = entry
    return found


def _package(entry) -> str:
    return "another package" if entry.dist is None else entry.dist.name


def _imported(path, told) -> Any:
    match = _PATH.fullmatch(path)
    if match is None:
        raise UsageError(f"{told} is the path {path!r}; it must be package.module:Name")
    module = _module(match[1], told)
    if not hasattr(module, match[2]):
        near = difflib.get_close_matches(match[2], vars(module), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UsageError(f"{told}: module {match[1]} has no {match[2]!r}{hint}")
    return getattr(module, match[2])


def _module(name: str, told: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last: installed packages come first
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"{told}: importing {name} fails: {error}") from None
        raise UsageError(
            f"{told}: there is no module {error.name!r}; install its package, or start "
            "in the folder that it lies in"
        ) from None
    except (Exception, SystemExit) as error:  # whatever the package raises
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(
            f"{told}: importing {name} fails: {type(error).__name__}: {error} "
            f"({place.filename}, line {place.lineno})"
        ) from None
