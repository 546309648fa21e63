"""A suite: which attacks are run on which images; built from a plain config.

The fields of a suite config, all optional but `attacks`:

  name          of the suite, and of its default output folder
  attacks       label -> attack spec; an eps of None is filled in by `eps`
  eps           for the specs without one; None takes the eps that the checkpoint was
                trained with, of the same threat
  data          {"name", "data_dir"} of the data set; None takes the checkpoint's
  split         of the data set
  examples      how many images, drawn by `seed`; 0 or None for the whole split
  seed          of the draw and of every random choice of the attacks
  batch_size    images at a time on each device
  chunk_steps   at most so many attack steps between two looks of the host; changes no
                result: more compile longer and waste steps on finished images
  draws         for a network that is random: keys over which its mean prediction is
                taken wherever success is judged
  unions        name -> labels whose union is reported; None for all of them
  cascades      name -> labels of attacks that run in this order, after the others, each
                on the images which those before have left; their accuracies are
                cumulative, the last one's is reported as the union `name`, and means
                over attacks count it alone
  sweeps        name -> {"attacks", "ata"}: labels of one attack at ascending budgets,
                reported in one row; with `ata`, as many accuracies of networks trained
                against that attack, also UAR
  seen          labels that training has seen; None takes those whose threat is the
                one of an attack of the checkpoint's training
  notes         label -> what a reader of its accuracy must know, such as in what the
                attack differs from its authors'; reported beside it
  means         labels that the means over unseen and over all attacks count, for a
                published table that leaves some out; None counts every attack
  curve         accuracy against eps: {"attack": spec, "eps": ascending values} or,
                without eps, `points` values up to `up_to` times the suite's eps; on
                the first `examples` images of the draw
  distances     name -> distance (see `jaxadv.perceptual`), each measured between every
                image and what an attack returned for it
  overlap       labels of attacks whose sets of broken images are drawn side by side;
                None takes all, of more than eight those that break most images, ()
                draws nothing
  pictures      images in each picture grid; 0 for none
  checks        what is checked of the result (see `jaxadv.evaluation.checks`):
                "cheap", "full", which runs attacks again, or "none"
  black_box     spec, without threat, of the attack without gradients that the full
                checks run in each lp ball for which the suite has none
  about         fields of the RobustBench file that no run can know: link, authors …
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxadv import rules, schema, specs
from jaxadv.attacks import ATTACKS, build_attack
from jaxadv.craft import warn_units
from jaxadv.evaluation.suite.fields import plain
from jaxadv.evaluation.suite.planned import (
    Eps,
    Planned,
    as_spec,
    check_label,
    check_name,
    plan,
    threat_name,
    training_attacks,
)
from jaxadv.perceptual import DISTANCES
from jaxadv.specs import UsageError, known

LEVELS = ("cheap", "full", "none")
DEFAULTS = {
    "name": "suite",
    "eps": None,
    "data": {"name": None, "data_dir": None},
    "split": "test",
    "examples": None,
    "seed": 0,
    "batch_size": 128,
    "chunk_steps": 5,
    "draws": 1,
    "unions": {"union": None},
    "cascades": {},
    "sweeps": {},
    "seen": None,
    "notes": {},
    "means": None,
    "curve": None,
    "distances": {},
    "overlap": None,
    "pictures": 6,
    "checks": "cheap",
    "black_box": {"name": "square", "steps": 500},
    "about": {
        "link": "",
        "name": "",
        "authors": "",
        "additional_data": False,
        "venue": "",
        "reported": "",
        "footnote": "",
    },
}
# The specs of a suite; see `jaxadv.training.settings`.
KINDS = {
    "attacks.*": schema.Kind(ATTACKS),
    "curve.attack": schema.Kind(ATTACKS),
    "distances.*": schema.Kind(DISTANCES),
    "black_box": schema.Kind(ATTACKS, needed=True),
}
_RULES = {
    "name": rules.NAME,
    "attacks": rules.GROUP,
    "eps": rules.optional(rules.number(0)),
    "data": rules.GROUP,
    "data.name": rules.optional(rules.NAME),
    "data.data_dir": rules.optional(rules.NAME),
    "split": rules.NAME,
    "examples": rules.optional(rules.whole(0)),
    "seed": rules.SEED,
    "batch_size": rules.whole(1),
    "chunk_steps": rules.whole(1),
    "draws": rules.whole(1),
    "unions": rules.optional(rules.GROUP),
    "cascades": rules.optional(rules.GROUP),
    "sweeps": rules.optional(rules.GROUP),
    "seen": rules.optional(rules.LIST),
    "means": rules.optional(rules.LIST),
    "curve": rules.optional(rules.GROUP),
    "distances": rules.optional(rules.GROUP),
    "overlap": rules.optional(rules.LIST),
    "notes": rules.optional(rules.GROUP),
    "pictures": rules.whole(0),
    "checks": rules.NAME,
    "black_box": rules.SPEC,
    "about": rules.optional(rules.GROUP),
}
_CURVE = {
    "attack": None,
    "eps": None,
    "points": 10,
    "up_to": 2.0,
    "examples": None,
}
_CURVE_RULES = {
    "attack": rules.optional(rules.SPEC),
    "eps": rules.optional(rules.several(rules.number(above=0))),
    "points": rules.whole(1),
    "up_to": rules.number(above=0),
    "examples": rules.optional(rules.whole(0)),
}
_SWEEP_RULES = {
    "attacks": rules.LIST,
    "ata": rules.optional(rules.LIST),
}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One attack at several budgets.

    Attributes:
      attacks: labels, the budgets ascending.
      ata: accuracies to compare with, as fractions, one for each; or None.
    """

    attacks: tuple[str, ...]
    ata: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Suite:
    """A checked suite; the fields are those of the module's page.

    `curve` is one `Planned` for each eps, ascending, and `curve_label` their name;
    `distances` are built and `distance_specs` what they were built from.
    """

    name: str
    attacks: tuple[Planned, ...]
    data: dict[str, Any]
    split: str
    examples: int | None
    seed: int
    batch_size: int
    chunk_steps: int
    draws: int
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
    overlap: tuple[str, ...] | None
    pictures: int
    checks: str
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


def resolve(config: Any, training: Mapping[str, Any] | None = None) -> Suite:
    """The suite that a config describes.

    Args:
      config: an ml_collections ConfigDict or a mapping; see the module.
      training: the config of the checkpoint's training, which gives the eps and the
        seen attacks that the suite leaves open.

    Raises:
      UsageError: an unknown or missing field, a wrong type, a bad value.
    """
    given = plain(config)
    training = plain(training or {})
    known(given, {**DEFAULTS, "attacks": None}, "config")
    full = {**DEFAULTS, **given}
    if not full.get("attacks"):
        raise UsageError("config.attacks is empty; give at least one: label -> spec")
    if full["data"] is None or isinstance(full["data"], Mapping):
        full["data"] = {**DEFAULTS["data"], **(full["data"] or {})}
    rules.check(full, _RULES, "config")
    _check_names(full)
    eps = Eps(full["eps"], training_attacks(training))
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
    curve = {**_CURVE, **(full["curve"] or {})}
    curve_label, points = _curve(curve, full["curve"], eps)
    if any(p.measures and p.label == curve_label for p in attacks):
        # That label is the curve of the attack's own sizes.
        curve_label = f"{curve_label}_curve"
        points = tuple(dataclasses.replace(p, label=curve_label) for p in points)
    warn_units({f"config.attacks.{p.label}": p.attack for p in attacks})
    distances = _distance_specs(full["distances"] or {})
    about = DEFAULTS["about"]
    return Suite(
        name=full["name"],
        attacks=attacks,
        data=full["data"],
        split=full["split"],
        examples=full["examples"],
        seed=full["seed"],
        batch_size=full["batch_size"],
        chunk_steps=full["chunk_steps"],
        draws=full["draws"],
        unions={**cascades, **_unions(full["unions"] or {}, labels)},
        cascades=cascades,
        sweeps=_sweeps(full["sweeps"] or {}, attacks),
        seen=_seen(full["seen"], attacks, training),
        notes=_notes(full["notes"] or {}, labels),
        means=_means(full["means"], labels),
        curve=points,
        curve_label=curve_label,
        curve_examples=curve["examples"],
        distances={
            name: specs.build(spec, DISTANCES, f"config.distances.{name}")
            for name, spec in distances.items()
        },
        distance_specs=distances,
        overlap=_overlap(full["overlap"], labels),
        pictures=full["pictures"],
        checks=_level(full["checks"]),
        black_box=_black_box(full["black_box"]),
        about={**about, **known(full["about"] or {}, about, "config.about")},
    )


def _check_names(full):
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


def _curve(curve, given, eps):
    rules.check(curve, _CURVE_RULES, "config.curve")
    if not given or curve["attack"] is None:
        return None, ()
    spec = as_spec(curve["attack"], "an attack", "config.curve.attack")
    values = curve["eps"]
    if values is None:
        base = plan("curve", spec, eps, "config.curve.attack").eps
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
    if not rules.GROUP.fits(given):
        raise UsageError(f"{where} is {given!r}; it must be {rules.GROUP.words}")
    given = {"attacks": (), "ata": None, **given}
    rules.check(given, _SWEEP_RULES, where)
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
    if not rules.LIST.fits(given) or not given:
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


def _level(given):
    if given not in LEVELS:
        raise UsageError(f"config.checks is {given!r}; allowed: {', '.join(LEVELS)}")
    return given


def _black_box(given):
    spec = as_spec(given, "an attack", "config.black_box")
    ball = {"threat": {"name": "linf", "eps": 0.1}}
    build_attack({**spec, **ball}, "config.black_box")
    return spec
