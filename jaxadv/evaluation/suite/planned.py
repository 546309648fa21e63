"""One attack of a suite, built from its spec."""

import dataclasses
import re
import zlib
from collections.abc import Mapping
from typing import Any

from jaxadv import protocols
from jaxadv.attacks import build_attack
from jaxadv.evaluation.suite import described
from jaxadv.specs import UsageError

_LONGEST = 200  # bytes; file names end at 255 and get more around them


class OpenEps(UsageError):
    """An eps is left open, and nothing says what it is."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """One attack of a suite.

    Attributes:
      label: its name in tables and files.
      spec: the complete plain config it was built from.
      attack: the attack itself.
    """

    label: str
    spec: dict[str, Any]
    attack: Any

    @property
    def number(self) -> int:
        """A stable number of the label, for random keys."""
        return zlib.crc32(self.label.encode())

    @property
    def eps(self) -> float:
        """The budget, in the threat's unit."""
        return float(self.attack.threat.eps)

    @property
    def title(self) -> str:
        """Name, steps and restarts, as people write them: PGD-40 x 3 restarts."""
        attack = self.attack
        restarts = f" x {attack.restarts} restarts" if attack.restarts > 1 else ""
        return f"{self.spec['name'].upper()}-{attack.steps}{restarts}"

    @property
    def measures(self) -> bool:
        """Whether sizes say which images every smaller eps breaks.

        Not after a first success, which is no minimum.
        """
        return protocols.minimizes(self.attack) and not self.attack.early_stop


@dataclasses.dataclass(frozen=True)
class Eps:
    """Where an eps of None comes from.

    Attributes:
      given: the suite's, or None.
      training: the attack specs of the checkpoint's training; that of the same
        threat is taken where nothing is given.
      usual: threat -> the eps that is taken where neither says it.
    """

    given: float | None
    training: list[dict[str, Any]]
    usual: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def fill(self, spec: Any, where: str) -> Any:
        """`spec` with every eps that is None filled in."""
        if isinstance(spec, (list, tuple)):
            return [self.fill(v, f"{where}[{i}]") for i, v in enumerate(spec)]
        if not isinstance(spec, dict):
            return spec
        full = {k: self.fill(v, f"{where}.{k}") for k, v in spec.items()}
        if "eps" in full and full["eps"] is None:
            full["eps"] = self._of(full.get("name"), where)
        return full

    def _of(self, threat, where):
        if self.given is not None:
            return float(self.given)
        for attack in self.training:
            trained = attack.get("threat") or {}
            if trained.get("name") == threat and trained.get("eps") is not None:
                return float(trained["eps"])
        if threat in self.usual:
            return float(self.usual[threat])
        raise OpenEps(
            f"{where}.eps is None and the checkpoint was not trained with a "
            f"{threat!r} threat; give --config.eps=<budget>"
        )


def training_attacks(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The attack specs of a training config."""
    several = training.get("attacks") or {}
    return [a for a in (training.get("attack"), *several.values()) if a]


def check_label(label: str, where: str) -> None:
    """Raises UsageError unless the label can stand in file names and tables."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+=-]*", str(label)):
        raise UsageError(f"{where}: label {label!r}; allowed: letters, digits, _.+=-")
    check_name(label, where)


def check_name(name: Any, where: str) -> None:
    """Raises UsageError unless the name can be that of one file or folder.

    A part of a path would leave the folder that results are written to.
    """
    if not isinstance(name, str) or not name.strip() or name in (".", ".."):
        raise UsageError(f"{where}: {name!r} is no name of a file; give another one")
    bad = [c for c in name if c in "/\\" or not c.isprintable()]
    if bad:
        raise UsageError(
            f"{where}: name {name!r} has {bad[0]!r}; it becomes the name of a file, "
            "so leave out path parts and control characters"
        )
    if len(name.encode()) > _LONGEST:
        raise UsageError(
            f"{where}: name {name[:20] + '…'!r} has {len(name.encode())} bytes; give "
            f"one of at most {_LONGEST}"
        )


def as_spec(spec: Any, kind: str, where: str) -> dict[str, Any]:
    """`spec` as a dictionary; a name alone is one too.

    Raises:
      UsageError: it is neither.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, dict):
        raise UsageError(f"{where} is {spec!r}; it must be {kind} spec")
    return spec


def plan(label: str, spec: Any, eps: Eps, where: str) -> Planned:
    """The attack of a spec, its open eps filled in; or an attack as it is.

    Raises:
      UsageError: a bad label or spec, or an eps that nothing gives.
    """
    check_label(label, "config.attacks")
    if protocols.is_attack(spec):
        return Planned(label, described.spec(spec, where), spec)
    spec = as_spec(spec, "an attack", where)
    spec = eps.fill(spec, where)
    attack = build_attack(spec, where)
    if "threat" not in spec:  # one of its own, which tables are to name
        spec = {**spec, "threat": described.plain(attack.threat)}
    return Planned(label, spec, attack)
