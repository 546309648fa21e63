"""A training config: its default fields, and the objects that it describes."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxadv import completion, docstrings, protocols, schema, specs
from jaxadv.attacks import ATTACKS, build_attack
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.craft import warn_units
from jaxadv.data import sources
from jaxadv.data.augment import AUGMENTATIONS
from jaxadv.defenses import DEFENSES
from jaxadv.defenses.clean import Clean
from jaxadv.models import MODELS
from jaxadv.schema import Kind
from jaxadv.specs import flat, plain, static
from jaxadv.threats import lpips
from jaxadv.training import optim, wandb_writer

# A ConfigDict, whose fields type checkers cannot know.
Config = Any

PIXELS = "[0, 1] units"


@dataclasses.dataclass(frozen=True)
class Data:
    """The training images."""

    name: str = static(
        "mnist5k", help="a prepared data set, or npz:FILE, folder:DIR or tfds:NAME"
    )
    augment: tuple = static(
        (),
        help="names or specs of augmentations, first to last; stored images of varying "
        "size are cropped once, as resized_crop says or by its defaults",
    )
    validation: int = static(
        400, minimum=0, help="training images held out to select the best checkpoint"
    )
    examples: int | None = static(
        None,
        minimum=1,
        help="use only so many of the training images, drawn by class; None: all",
    )
    data_dir: str | None = static(
        None,
        help="where prepared data sets lie, and relative paths of npz: and folder: "
        "begin",
    )
    image_size: int | None = static(
        None,
        minimum=1,
        unit="pixels",
        help="for sets whose images vary in size: side of the squares made of them; "
        "None: 224 for prepared sets, and folders have one size",
    )
    test: float | None = static(
        None,
        above=0,
        help="for sets without a test split: a fraction, or a number, of the images is "
        "held out as one, by class, the same for all runs",
    )


@dataclasses.dataclass(frozen=True)
class Normalize:
    """What happens to pixels inside the network."""

    mean: tuple[float, ...] = static((0.0,), help="of each channel", unit=PIXELS)
    std: tuple[float, ...] = static(
        (1.0,), above=0, help="of each channel", unit=PIXELS
    )


@dataclasses.dataclass(frozen=True)
class Validation:
    """How the best checkpoint is selected."""

    attack: Mapping = schema.spec(
        Kind(ATTACKS, {"keep": "best"}),
        {},
        help="attack of the validation; default: PGD in the training's threat",
    )
    steps: int = static(20, minimum=1, help="steps of that default")
    batch_size: int = static(
        500, minimum=1, help="images of one validation step, over all devices"
    )


@dataclasses.dataclass(frozen=True)
class Log:
    """Who else is told of a run; it may change when the run is resumed."""

    wandb: str | None = static(
        None, help="a project of Weights & Biases (pip install jaxadv[wandb]); None: no"
    )


@dataclasses.dataclass(frozen=True)
class Training:
    """Every field of a training config; clean training of a small network."""

    seed: int = schema.seed("of the initial weights, the order of the data and attacks")
    epochs: int = static(10, minimum=1, help="passes over the training data")
    batch_size: int = static(
        128, minimum=1, help="images of one step, over all devices of all hosts"
    )
    clean_epochs: int = static(
        0, minimum=0, help="epochs of clean training before the defense begins"
    )
    ema_decay: float | None = static(
        None,
        minimum=0,
        below=1,
        help="of the averaged weights that are evaluated in place of the last",
    )
    patience: int | None = static(
        None,
        minimum=1,
        help="epochs of the defense without a better validation score before training "
        "stops; None: never",
    )
    log_steps: int = static(
        50, minimum=1, help="steps between two lines of metrics.jsonl"
    )
    checkpoint_steps: int = static(
        0, minimum=0, help="steps between two checkpoints inside an epoch; 0 for none"
    )
    checkpoint_seconds: float = static(
        300.0,
        minimum=0,
        infinite=True,
        unit="seconds",
        help="time between two checkpoints inside an epoch",
    )
    log: Log = schema.group(Log, "who else is told of the run")
    data: Data = schema.group(Data, "where the images come from")
    normalize: Normalize = schema.group(Normalize, "of pixels, inside the network")
    model: Mapping = schema.spec(
        Kind(MODELS, needed=True),
        {"name": "lenet_v2"},
        help="the network; compute_dtype may be bfloat16",
    )
    init_from: str | None = static(
        None,
        help="a run's folder or a weight file whose weights training begins with; the "
        "head is new where the classes are others",
    )
    defense: Mapping = schema.spec(
        Kind(DEFENSES, needed=True), {"name": "clean"}, help="how to train"
    )
    attack: Mapping = schema.spec(
        Kind(ATTACKS, {"keep": "last"}),
        {},
        help="the attack to train with (and to validate with, stronger)",
    )
    attacks: Mapping = schema.spec(
        Kind(ATTACKS, {"keep": "last"}),
        {},
        labeled=True,
        help="the same, several: label -> attack",
    )
    validation: Validation = schema.group(Validation, "selects the best checkpoint")
    optimizer: Mapping = static(
        completion.defaults(optim.Optimizer, {"name": "sgd"}),
        help="the optimizer; its learning_rate is the schedule's maximum",
    )
    schedule: Mapping = static(
        completion.defaults(optim.Schedule, {"name": "constant"}),
        help="how the learning rate moves",
    )


KINDS = schema.kinds(Training)
_SPECS = {path.removesuffix(".*") for path in KINDS}


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
    return schema.config(Training)


def complete(config: Config, kinds: Mapping[str, Kind] = KINDS) -> Config:
    """`completion.complete`, of a training config unless `kinds` say otherwise."""
    return completion.complete(config, kinds)


def explain() -> dict[str, str]:
    """Path of every field of a training config -> its sentence."""
    found = schema.explain(Training)
    for name, make in (("optimizer", optim.Optimizer), ("schedule", optim.Schedule)):
        words = docstrings.attributes(make)
        found[f"{name}.name"] = found[name]
        found |= {f"{name}.{field}": sentence for field, sentence in words.items()}
    return found


def kept(config: Config) -> dict[str, Any]:
    """The plain config that a run keeps: without what may change when it goes on."""
    return {key: value for key, value in plain(config).items() if key != "log"}


def log(config: Config) -> Log:
    """Who else is told of a run; nobody where a config that a run has kept is given."""
    return Log(**plain(config).get("log", {}))


def recorded(fields: Mapping[str, Any]) -> Config:
    """The config that a run's folder records, as its file has made it.

    Raises:
      UsageError: a field is none of a training config.
    """
    config, name = default_config(), ""
    specs.known(fields, config, "config")
    try:
        with config.unlocked():
            for name, value in plain(fields).items():
                # What a spec has depends on its name, the fields of others do not.
                if isinstance(config[name], ConfigDict) and name not in _SPECS:
                    config[name].update(value)
                else:
                    config[name] = value
    except (TypeError, KeyError, ValueError) as error:
        raise specs.UsageError(f"config.{name} of the run: {error}") from None
    return complete(config)


def plan(config: Config) -> Plan:
    """Builds and checks everything that needs neither data nor devices.

    Raises:
      UsageError: naming the field that is wrong.
    """
    _check_fields(config)
    if log(config).wandb:
        wandb_writer.check()
    sources.check_name(config.data.name, config.data.data_dir)
    attacks = _attacks(config)
    make: Any = specs.lookup(config.defense.get("name"), DEFENSES, "config.defense")
    fields = plain(config.defense)
    fields.pop("name", None)
    for field in specs.configurable(make):
        if "given" in field.metadata:
            fields[field.name] = tuple(attacks)
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


def rate(config: Config, steps_per_epoch: int) -> Callable[[Any], Any]:
    """`step -> learning rate` of a config; see `optim.Schedule.make`."""
    schedule = _of_kind(config, "schedule", optim.Schedule, optim.SCHEDULES)
    most = config["optimizer"]["learning_rate"]
    return schedule.make(most, config["epochs"], steps_per_epoch)


def _of_kind(config, field, make, kinds):
    fields, where = plain(config[field]), f"config.{field}"
    kind = fields.pop("name", None)
    specs.lookup(kind, {name: make for name in kinds}, where)
    return specs.construct(make, fields | {"kind": kind}, where)


def _check_fields(config):
    fields = {"log": dataclasses.asdict(Log()), **plain(config)}
    schema.check(Training, fields, "config")
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

    Raises:
      UsageError: the threat has no budget.
    """
    if protocols.unbounded(attack.threat):
        raise specs.UsageError(
            "config.validation.attack is not given, and the training attack is "
            "penalized: it has no budget in which PGD could validate; give an attack "
            "in a ball, as pgd in linf"
        )
    size = {"steps": steps, "step_size": None, "rel_step_size": 2.5 / steps}
    ascent: Any = Ascent  # a type checker sees no fields in a flax dataclass
    if type(attack) is not ascent:
        return ascent(attack.threat, **size)
    return attack.replace(**size, keep="best", random_start=True)
