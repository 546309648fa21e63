"""A training config: its default fields, and the objects that it describes."""

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from jaxadv import hints, rules, specs
from jaxadv.attacks import ATTACKS, build_attack
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.craft import warn_units
from jaxadv.data import catalog
from jaxadv.data.augment import AUGMENTATIONS
from jaxadv.defenses import DEFENSES
from jaxadv.defenses.clean import Clean
from jaxadv.models import MODELS
from jaxadv.specs import flat, plain
from jaxadv.threats import lpips
from jaxadv.training import optim

# A ConfigDict, whose fields type checkers cannot know.
Config = Any

HELP = {
    "seed": "of the initial weights, the order of the data and the attacks",
    "epochs": "passes over the training data",
    "batch_size": "images of one step, over all devices of all hosts",
    "clean_epochs": "epochs of clean training before the defense begins",
    "ema_decay": "of the averaged weights that are evaluated in place of the last",
    "patience": "epochs of the defense without a better validation score before "
    "training stops",
    "log_steps": "steps between two lines of metrics.jsonl",
    "checkpoint_steps": "steps between two checkpoints inside an epoch; 0 for none",
    "checkpoint_seconds": "seconds between two checkpoints inside an epoch",
    "data.name": "a prepared data set",
    "data.augment": "names or specs of augmentations, first to last; stored images "
    "of varying size are cropped once, as resized_crop says or by its defaults",
    "data.validation": "training images held out to select the best checkpoint",
    "data.examples": "use only so many of the training images, drawn by class",
    "data.data_dir": "where prepared data sets lie",
    "normalize": "mean and std of each channel, in [0, 1] units, inside the network",
    "model": "the network; compute_dtype may be bfloat16",
    "defense": "how to train",
    "attack": "the attack to train with (and to validate with, stronger)",
    "attacks": "the same, several: label -> attack",
    "validation.attack": "attack of the validation; default: PGD in the same threat",
    "validation.steps": "steps of that default",
    "validation.batch_size": "images of one validation step, over all devices",
    "optimizer": "the optimizer; its learning_rate is the schedule's maximum",
    "schedule": "how the learning rate moves",
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """What the specs at one place of a config describe.

    Attributes:
      registry: name -> what can stand there.
      own: defaults that hold there, in place of the objects' own.
      needed: whether something must stand there.
    """

    registry: specs.Registry
    own: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needed: bool = False


# Path of a spec -> its kind; `*` is any label.
KINDS = {
    "model": Kind(MODELS, needed=True),
    "defense": Kind(DEFENSES, needed=True),
    "attack": Kind(ATTACKS, {"keep": "last"}),
    "attacks.*": Kind(ATTACKS, {"keep": "last"}),
    "validation.attack": Kind(ATTACKS, {"keep": "best"}),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a config describes, built and checked without data or devices.

    Attributes:
      defense: what to minimize.
      validation: attacks; robust are the images that withstand all of them.
      comparable: whether validation scores of two epochs speak of the same balls; if
        not, the last epoch is taken for the best.
      single_step: whether the training attacks take one step.
      optimizer: the optimizer's fields.
      schedule: the schedule's fields.
      augmentations: of the training images, first to last.
    """

    defense: Any
    validation: tuple[Any, ...]
    comparable: bool
    single_step: bool
    optimizer: optim.Optimizer
    schedule: optim.Schedule
    augmentations: tuple[Any, ...]

    def validated(self, attacks: tuple[Any, ...]) -> "Plan":
        """The same with other attacks in the validation."""
        comparable = not lpips.self_bounded(attacks)
        return dataclasses.replace(self, validation=attacks, comparable=comparable)


def default_config() -> Config:
    """Every field of a training config; clean training of a small network.

    Assign to its fields, whole specs to `attack`, `attacks`, `defense` and
    `model`, and return `complete(config)`.
    """
    config = ConfigDict(
        {
            "seed": 0,
            "epochs": 10,
            "batch_size": 128,
            "clean_epochs": 0,
            "ema_decay": config_dict.placeholder(float),
            "patience": config_dict.placeholder(int),
            "log_steps": 50,
            "checkpoint_steps": 0,
            "checkpoint_seconds": 300.0,
            "data": {
                "name": "mnist5k",
                "augment": (),
                "validation": 400,
                "examples": config_dict.placeholder(int),
                "data_dir": config_dict.placeholder(str),
            },
            "normalize": {"mean": (0.0,), "std": (1.0,)},
            "model": {"name": "lenet_v2"},
            "defense": {"name": "clean"},
            "attack": {},
            "attacks": {},
            "validation": {"attack": {}, "steps": 20, "batch_size": 500},
            "optimizer": _defaults(optim.Optimizer, {"name": "sgd"}),
            "schedule": _defaults(optim.Schedule, {"name": "constant"}),
        }
    )
    return config.lock()


def complete(config: Config, kinds: Mapping[str, Kind] = KINDS) -> Config:
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


def plan(config: Config) -> Plan:
    """Builds and checks everything that needs neither data nor devices.

    Raises:
      UsageError: naming the field that is wrong.
    """
    _check_fields(config)
    catalog.entry(config.data.name)
    attacks = _attacks(config)
    make: Any = specs.lookup(config.defense.get("name"), DEFENSES, "config.defense")
    fields = plain(config.defense)
    fields.pop("name", None)
    if any(field.name == "attacks" for field in dataclasses.fields(make)):
        fields["attacks"] = tuple(attacks)
    defense = specs.construct(make, fields, "config.defense")
    if not isinstance(defense, Clean) and config.clean_epochs >= config.epochs:
        raise specs.UsageError(
            f"config.clean_epochs is {config.clean_epochs} of config.epochs="
            f"{config.epochs}: no epoch is left for the defense; give fewer clean "
            "epochs, or the defense clean"
        )
    network(config, classes=2)
    validation = _validation(config, attacks)
    comparable = not lpips.self_bounded(validation)
    if config.patience is not None and not comparable:
        raise specs.UsageError(
            f"config.patience is {config.patience}, but the validation's LPIPS ball "
            "changes with the network, so no epoch is better than another; give "
            "config.validation.attack in a fixed ball, or its threat a network"
        )
    return Plan(
        defense=defense,
        validation=validation,
        comparable=comparable,
        single_step=bool(attacks) and all(attack.steps == 1 for attack in attacks),
        optimizer=_of_kind(config, "optimizer", optim.Optimizer, optim.OPTIMIZERS),
        schedule=_of_kind(config, "schedule", optim.Schedule, optim.SCHEDULES),
        augmentations=_augmentations(config),
    )


def network(config: Config, classes: int) -> Any:
    """The linen module that `config.model` describes, with `classes` outputs.

    Raises:
      UsageError: unknown name or field, or a bad value.
    """
    spec = plain(config.model) | {"num_classes": classes}
    return specs.build(spec, MODELS, "config.model")


def _of_kind(config, field, make, kinds):
    fields, where = plain(config[field]), f"config.{field}"
    kind = fields.pop("name", None)
    specs.lookup(kind, {name: make for name in kinds}, where)
    return specs.construct(make, fields | {"kind": kind}, where)


_RULES = {
    "seed": rules.SEED,
    "epochs": rules.whole(1),
    "batch_size": rules.whole(1),
    "clean_epochs": rules.whole(0),
    "ema_decay": rules.optional(rules.number(0, below=1)),
    "patience": rules.optional(rules.whole(1)),
    "log_steps": rules.whole(1),
    "checkpoint_steps": rules.whole(0),
    "checkpoint_seconds": rules.number(0, infinite=True),
    "data": rules.GROUP,
    "data.name": rules.NAME,
    "data.augment": rules.LIST,
    "data.validation": rules.whole(0),
    "data.examples": rules.optional(rules.whole(1)),
    "data.data_dir": rules.optional(rules.NAME),
    "normalize": rules.GROUP,
    "normalize.mean": rules.several(rules.number()),
    "normalize.std": rules.several(rules.number(above=0)),
    "model": rules.GROUP,
    "defense": rules.GROUP,
    "attack": rules.GROUP,
    "attacks": rules.GROUP,
    "validation": rules.GROUP,
    "validation.attack": rules.GROUP,
    "validation.steps": rules.whole(1),
    "validation.batch_size": rules.whole(1),
    "optimizer": rules.GROUP,
    "schedule": rules.GROUP,
}


def _check_fields(config):
    fields = plain(config)
    rules.check(fields, _RULES, "config")
    for path, value in flat(fields).items():
        if isinstance(value, float) and math.isnan(value):
            raise specs.UsageError(f"config.{path} is nan; it must be a number")
    if "" in fields["attacks"]:
        raise specs.UsageError("config.attacks has an empty label; name the attack")


def _attacks(config) -> list[Any]:
    """The training attacks; they return their last point unless told otherwise."""
    if config.attack and config.attacks:
        raise specs.UsageError(
            "config.attack and config.attacks are both given; keep one of them "
            "(--config.attack.name= takes the first away)"
        )
    found = {f"config.attacks.{k}": v for k, v in config.attacks.items()}
    if config.attack:
        found = {"config.attack": config.attack}
    built = {k: build_attack(plain(v), k) for k, v in found.items()}
    warn_units(built)
    return list(built.values())


def _augmentations(config) -> tuple[Any, ...]:
    found = []
    for i, spec in enumerate(config.data.augment):
        spec = {"name": spec} if isinstance(spec, str) else spec
        where = f"config.data.augment[{i}]"
        found.append(specs.build(plain(spec), AUGMENTATIONS, where))
    return tuple(found)


def _validation(config, attacks) -> tuple[Any, ...]:
    if config.validation.attack:
        spec = plain(config.validation.attack)
        return (build_attack(spec, "config.validation.attack"),)
    return tuple(_stronger(attack, config.validation.steps) for attack in attacks)


def _stronger(attack: Any, steps: int) -> Any:
    """PGD in the same threat, with more steps that together cross it 2.5 times.

    The factor is Madry et al.'s, "Towards deep learning models resistant to
    adversarial attacks", 2018, section 5 and appendix.
    """
    size = {"steps": steps, "step_size": None, "rel_step_size": 2.5 / steps}
    ascent: Any = Ascent  # a type checker sees no fields in a flax dataclass
    if type(attack) is not ascent:
        return ascent(attack.threat, **size)
    return attack.replace(**size, keep="best", random_start=True)


_NOT_CONFIGURED = ("attacks", "kind", "num_classes")


def filled(spec: Any, kind: Kind, where: str) -> dict[str, Any]:
    """A spec, or a name alone, with every field that it leaves open.

    Raises:
      UsageError: it is something else, or has no name, or an unknown one.
    """
    if not (isinstance(spec, ConfigDict) or rules.SPEC.fits(spec)):
        raise specs.UsageError(f"{where} is {spec!r}; it must be {rules.SPEC.words}")
    spec = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "name" not in spec:
        raise specs.UsageError(f"{where}: the field 'name' is missing")
    make = specs.lookup(spec["name"], kind.registry, where)
    return _defaults(make, spec, where, kind.own)


def _defaults(make, given=None, where="", own=None) -> dict[str, Any]:
    """The fields of dataclass `make`, those of `given` first, as config values.

    Those of `own` come before its defaults.
    """
    given, own = dict(given or {}), own or {}
    found = dict(given)
    for field in specs.configurable(make):
        if field.name in _NOT_CONFIGURED:
            continue
        value = given.get(field.name, own.get(field.name, _default(field)))
        if "registry" in field.metadata:
            registry = field.metadata["registry"]()
            found[field.name] = _part(value, registry, f"{where}.{field.name}")
            continue
        if field.name == "compute_dtype" and not isinstance(value, str):
            value = "float32"
        found[field.name] = _value(value, hints.members(field.type))
    return found


def _default(field):
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


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
    names = {make: name for name, make in registry.items()}
    fields = [field.name for field in specs.configurable(type(value))]
    return {"name": names[type(value)]} | {k: getattr(value, k) for k in fields}


_PLAIN = (tuple, float, int, str, bool)


def _value(value, kinds):
    """A field's value in a config: a placeholder of its type in place of None."""
    plain = {typing.get_origin(kind) or kind for kind in kinds}
    if value is None:
        return config_dict.placeholder(next((t for t in _PLAIN if t in plain), object))
    value = hints.number(value) if plain & {float} else value
    if float in plain and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
