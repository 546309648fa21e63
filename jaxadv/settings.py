"""A training config: its default fields, and the objects that it describes."""

import dataclasses
import math
from typing import Any

from ml_collections import ConfigDict, config_dict

from jaxadv import optim, rules, specs
from jaxadv.attacks import ATTACKS, build_attack
from jaxadv.attacks.ascent import Ascent
from jaxadv.data import catalog
from jaxadv.data.augment import AUGMENTATIONS
from jaxadv.defenses import DEFENSES
from jaxadv.models import MODELS
from jaxadv.specs import flat, plain

# A ConfigDict, whose fields type checkers cannot know.
Config = Any

HELP = {
    "seed": "of the initial weights, the order of the data and the attacks",
    "epochs": "passes over the training data",
    "batch_size": "images of one step, over all devices of all hosts",
    "clean_epochs": "epochs of clean training before the defense begins",
    "ema_decay": "of the averaged weights that are evaluated in place of the last",
    "patience": "epochs without a better validation score before training stops",
    "log_steps": "steps between two lines of metrics.jsonl",
    "checkpoint_steps": "steps between two checkpoints inside an epoch; 0 for none",
    "checkpoint_seconds": "seconds between two checkpoints inside an epoch",
    "data.name": "a prepared data set",
    "data.augment": "names or specs of augmentations, first to last",
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
class Plan:
    """What a config describes, built and checked without data or devices.

    Attributes:
      defense: what to minimize.
      validation: attacks; robust are the images that withstand all of them.
      single_step: whether the training attacks take one step.
      optimizer: the optimizer's fields.
      schedule: the schedule's fields.
      augmentations: of the training images, first to last.
    """

    defense: Any
    validation: tuple[Any, ...]
    single_step: bool
    optimizer: optim.Optimizer
    schedule: optim.Schedule
    augmentations: tuple[Any, ...]


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


def complete(config: Config) -> Config:
    """`config` with every unnamed field of its specs filled in by its default.

    So all of them are seen by `--help`, can be overridden, and have a type.

    Raises:
      UsageError: unknown name.
    """
    with config.unlocked():
        for path, registry in (("model", MODELS), ("defense", DEFENSES)):
            config[path] = _filled(config[path], registry, f"config.{path}")
        if config.attack:
            config.attack = _filled(config.attack, ATTACKS, "config.attack")
        for label, spec in config.attacks.items():
            config.attacks[label] = _filled(spec, ATTACKS, f"config.attacks.{label}")
        if config.validation.attack:
            config.validation.attack = _filled(
                config.validation.attack, ATTACKS, "config.validation.attack"
            )
    return config.lock()


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
    network(config, classes=2)
    return Plan(
        defense=specs.construct(make, fields, "config.defense"),
        validation=_validation(config, attacks),
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
            "config.attack and config.attacks are both given; keep one of them"
        )
    found = {f"config.attacks.{k}": v for k, v in config.attacks.items()}
    if config.attack:
        found = {"config.attack": config.attack}
    return [build_attack(plain(v), where) for where, v in found.items()]


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


def _filled(spec, registry, where):
    spec = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "name" not in spec:
        raise specs.UsageError(f"{where}: the field 'name' is missing")
    make = specs.lookup(spec["name"], registry, where)
    trains = registry is ATTACKS and where != "config.validation.attack"
    return _defaults(make, spec, where, keep="last" if trains else "best")


def _defaults(make, given=None, where="", keep="best") -> dict[str, Any]:
    """The fields of dataclass `make`, those of `given` first, as config values."""
    given = dict(given or {})
    filled = dict(given)
    for field in specs.configurable(make):
        if field.name in _NOT_CONFIGURED:
            continue
        value = given.get(field.name, _default(field))
        if value is dataclasses.MISSING:
            continue
        if "registry" in field.metadata:
            value = _part(value, field.metadata["registry"](), f"{where}.{field.name}")
        elif field.name == "keep" and "keep" not in given:
            value = keep
        elif field.name == "compute_dtype" and not isinstance(value, str):
            value = "float32"
        filled[field.name] = _value(value, str(field.type))
    return filled


def _default(field):
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _part(value, registry, where):
    """The spec of a nested part, which may be an object that is a default."""
    if isinstance(value, (tuple, list)):
        return tuple(value)
    if dataclasses.is_dataclass(value):
        names = {make: name for name, make in registry.items()}
        return _defaults(type(value), {"name": names[type(value)]}, where)
    return _filled(value, registry, where) if value else value


def _value(value, kind):
    if value is None:
        types = {"float": float, "int": int, "str": str, "bool": bool}
        known = next((t for name, t in types.items() if name in kind), None)
        return config_dict.placeholder(known) if known else None
    if "float" in kind and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
