"""A suite: which attacks are run on which images; built from a plain config.

Its fields are declared in `jaxadv.evaluation.suite.declared`.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxadv import schema, specs
from jaxadv.attacks import build_attack
from jaxadv.craft import warn_units
from jaxadv.evaluation import metrics
from jaxadv.evaluation.suite import settled
from jaxadv.evaluation.suite.declared import KINDS, Fields, Scope, Sweep
from jaxadv.evaluation.suite.planned import (
    Eps,
    Planned,
    as_spec,
    check_label,
    check_name,
    plan,
    training_attacks,
)
from jaxadv.evaluation.table import threat_name
from jaxadv.perceptual import DISTANCES
from jaxadv.perceptual.saliency import SALIENCY
from jaxadv.specs import UsageError, plain

__all__ = ["KINDS", "Fields", "Suite", "Sweep", "resolve"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite(Scope):
    """A checked suite; the fields are those that are declared.

    `curve` is one `Planned` for each eps, ascending, and `curve_label` their name;
    `distances` and `saliency` are built, `distance_specs` and `saliency_spec` what they
    were built from.
    """

    attacks: tuple[Planned, ...]
    data: dict[str, Any]
    unions: dict[str, tuple[str, ...]]
    cascades: dict[str, tuple[str, ...]]
    sweeps: dict[str, Sweep]
    seen: tuple[str, ...]
    notes: dict[str, str]
    means: tuple[str, ...] | None
    curve: tuple[Planned, ...]
    curve_label: str | None
    curve_examples: int | None
    distances: dict[str, Any]
    distance_specs: dict[str, dict[str, Any]]
    saliency: Any
    saliency_spec: dict[str, Any] | None
    overlap: tuple[str, ...] | None
    black_box: dict[str, Any]
    about: dict[str, Any]

    def cascade(self, label: str) -> str | None:
        """The name of the cascade that an attack is part of."""
        return next((n for n, some in self.cascades.items() if label in some), None)

    def behind(self, curve: str) -> Planned:
        """What a curve is of: the suite's own at its largest eps, or an attack whose
        sizes it is read off."""
        if self.curve and curve == self.curve_label:
            return self.curve[-1]
        return next(p for p in self.attacks if p.label == curve)

    def choose(self, size: int, count: int | None) -> np.ndarray:
        """Ascending positions of `count` examples (0: all) of a split of `size`.

        A smaller choice is part of a larger one.

        Raises:
          UsageError: the split has fewer.
        """
        count = count or size
        if count > size:
            raise UsageError(
                f"config.examples is {count}; the split {self.split!r} has {size}: "
                f"give --config.examples={size}"
            )
        order = np.random.RandomState(self.seed).permutation(size)
        return np.sort(order[:count])


def resolve(
    config: Any,
    training: Mapping[str, Any] | None = None,
    usual: Mapping[str, float] | None = None,
) -> Suite:
    """The suite that a config describes.

    Args:
      config: an ml_collections ConfigDict or a mapping; see the module.
      training: the config of the checkpoint's training, which gives the eps and the
        seen attacks that the suite leaves open.
      usual: threat -> the eps that is taken where nothing else says it.

    Raises:
      UsageError: an unknown or missing field, a wrong type, a bad value.
    """
    training = dict(plain(training or {}))
    full = schema.fill(Fields, plain(config))
    if not full["attacks"]:
        raise UsageError("config.attacks is empty; give at least one: label -> spec")
    schema.check(Fields, full, "config")
    _check_names(full)
    full, told = settled.settle(full)
    metrics.chosen(full["metrics"])
    eps = Eps(full["eps"], training_attacks(training), usual or {})
    attacks = tuple(
        plan(label, spec, eps, f"config.attacks.{label}")
        for label, spec in full["attacks"].items()
    )
    labels = [planned.label for planned in attacks]
    cascades = _cascades(full["cascades"] or {}, labels)
    # A ConfigDict sorts its keys: a cascade's own order is the one that is meant.
    order = [label for some in cascades.values() for label in some]
    attacks = tuple(
        sorted(attacks, key=lambda p: order.index(p.label) if p.label in order else -1)
    )
    labels = [planned.label for planned in attacks]
    curve_label, points = _curve(full["curve"], eps)
    if any(p.measures and p.label == curve_label for p in attacks):
        # That label is the curve of the attack's own sizes.
        curve_label = f"{curve_label}_curve"
        points = tuple(dataclasses.replace(p, label=curve_label) for p in points)
    warn_units({f"config.attacks.{p.label}": p.attack for p in attacks})
    distances = _distance_specs(full["distances"] or {})
    looks = full["saliency"] or None
    looks = looks and as_spec(looks, "a saliency network", "config.saliency")
    return Suite(
        **{field.name: full[field.name] for field in dataclasses.fields(Scope)},
        attacks=attacks,
        data=full["data"],
        unions={**cascades, **_unions(full["unions"] or {}, labels)},
        cascades=cascades,
        sweeps=_sweeps(full["sweeps"] or {}, attacks),
        seen=_seen(full["seen"], attacks, training),
        notes=settled.noted(_notes(full["notes"] or {}, labels), told),
        means=_means(full["means"], labels),
        curve=points,
        curve_label=curve_label,
        curve_examples=full["curve"]["examples"],
        distances={
            name: specs.build(spec, DISTANCES, f"config.distances.{name}")
            for name, spec in distances.items()
        },
        distance_specs=distances,
        saliency=looks and specs.build(looks, SALIENCY, "config.saliency"),
        saliency_spec=looks,
        overlap=_overlap(full["overlap"], labels),
        black_box=_black_box(full["black_box"]),
        about=full["about"],
    )


def _check_names(full):
    groups = {*(full["unions"] or ()), *(full["cascades"] or ())}
    for label in full["attacks"]:
        if label == "clean" or label in groups:
            raise UsageError(
                f"config.attacks: {label!r} is the name of another row of the table; "
                "give the attack another label"
            )
    check_name(full["name"], "config.name")
    for group in ("unions", "cascades", "sweeps"):
        for name in full[group] or ():
            check_name(name, f"config.{group}")


def _distance_specs(given):
    for name in given:
        check_label(name, "config.distances")
    return {
        name: as_spec(spec, "a distance", f"config.distances.{name}")
        for name, spec in given.items()
    }


def _curve(curve, eps):
    if curve["attack"] is None:
        return None, ()
    spec = as_spec(curve["attack"], "an attack", "config.curve.attack")
    values = curve["eps"]
    if values is None:
        base = plan("curve", spec, eps, "config.curve.attack").eps
        if math.isinf(base):
            raise UsageError(
                "config.curve.attack is penalized and has no budget to draw a curve "
                "over; take an attack in a ball"
            )
        steps = np.arange(1, curve["points"] + 1) / curve["points"]
        # Rounded, so that 0.15 does not become 0.15000000000000002.
        values = [float(f"{v:.6g}") for v in steps * curve["up_to"] * base]
    values = [float(v) for v in values]
    if not values or values != sorted(set(values)) or values[0] <= 0:
        raise UsageError(
            f"config.curve.eps is {values}; it must be ascending and above 0"
        )
    threat = spec.get("threat") or {}
    threat = as_spec(threat, "a threat", "config.curve.attack.threat")
    points = tuple(
        plan("curve", {**spec, "threat": {**threat, "eps": v}}, eps, "config.curve")
        for v in values
    )
    label = f"{spec.get('name')}_{threat.get('name')}"
    return label, tuple(dataclasses.replace(p, label=label) for p in points)


def _unions(unions, labels):
    return {
        name: _some(labels if parts is None else parts, labels, f"config.unions.{name}")
        for name, parts in unions.items()
    }


def _cascades(cascades, labels):
    found = {
        name: _some(parts, labels, f"config.cascades.{name}")
        for name, parts in cascades.items()
    }
    several = [label for parts in found.values() for label in parts]
    for label in set(several):
        if several.count(label) > 1:
            raise UsageError(
                f"config.cascades names {label!r} twice; give it two labels, as an "
                "attack has one place in one cascade"
            )
    return found


def _sweeps(sweeps, attacks):
    return {name: _sweep(given, attacks, name) for name, given in sweeps.items()}


def _sweep(given, attacks, name):
    where = f"config.sweeps.{name}"
    if not isinstance(given, Mapping):
        raise UsageError(f"{where} is {given!r}; it must be a group of fields")
    given = schema.fill(Sweep, given)
    schema.check(Sweep, given, where)
    labels = [planned.label for planned in attacks]
    chosen = _some(given["attacks"], labels, where)
    budgets = [attacks[labels.index(label)].eps for label in chosen]
    if budgets != sorted(set(budgets)):
        raise UsageError(f"{where}.attacks have eps {budgets}; they must ascend")
    ata = given["ata"]
    if ata and len(ata) != len(chosen):
        raise UsageError(
            f"{where}.ata has {len(ata)} numbers; give one for each of its "
            f"{len(chosen)} attacks"
        )
    return Sweep(chosen, tuple(ata) if ata else None)


def _overlap(overlap, labels):
    return None if overlap is None else _checked(overlap, labels, "config.overlap")


def _notes(notes, labels):
    if not isinstance(notes, Mapping):
        raise UsageError(f"config.notes is {notes!r}; it must be label -> text")
    _checked(notes, labels, "config.notes")
    for label, text in notes.items():
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"config.notes.{label} is {text!r}; it must be a text")
    return dict(notes)


def _some(given, labels, where):
    """As `_checked`, and at least one."""
    if not isinstance(given, (tuple, list)) or not given:
        raise UsageError(
            f"{where} is {given!r}; it must be a tuple of labels, at least one of: "
            f"{', '.join(labels)}"
        )
    return _checked(given, labels, where)


def _checked(given, labels, where):
    for label in given:
        if label not in labels:
            raise UsageError(f"{where} names {label!r}; attacks: {', '.join(labels)}")
    return tuple(given)


def _seen(seen, attacks, training):
    if seen is not None:
        return _checked(seen, [planned.label for planned in attacks], "config.seen")
    threats = {threat_name(attack) for attack in training_attacks(training)} - {""}
    return tuple(p.label for p in attacks if threat_name(p.spec) in threats)


def _means(given, labels):
    return None if given is None else _checked(given, labels, "config.means")


def _black_box(given):
    spec = as_spec(given, "an attack", "config.black_box")
    ball = {"threat": {"name": "linf", "eps": 0.1}}
    build_attack({**spec, **ball}, "config.black_box")
    return spec
