"""A training config: its default fields, and the objects that it describes."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxadv import completion, docstrings, protocols, schema, specs
from jaxadv.attacks import build_attack
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.craft import warn_units
from jaxadv.craft.features import features_of
from jaxadv.data import sources
from jaxadv.data.augment import AUGMENTATIONS
from jaxadv.data.mixing import MIXINGS
from jaxadv.defenses import DEFENSES
from jaxadv.defenses.clean import Clean
from jaxadv.models import MODELS
from jaxadv.schema import Kind
from jaxadv.specs import flat, plain
from jaxadv.threats import lpips
from jaxadv.training import optim, wandb_writer
from jaxadv.training.awp import Awp
from jaxadv.training.declared import KINDS, Log, Training

# A ConfigDict, whose fields type checkers cannot know.
Config = Any

_SPECS = {path.removesuffix(".*") for path in KINDS}


@dataclasses.dataclass(frozen=True)
class Phase:
    """A defense that some of the epochs train with.

    Attributes:
      label: as messages name it.
      until: the last epoch of the phase, counted from 1.
      defense: what to minimize.
    """

    label: str
    until: int
    defense: Any


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a config describes, built and checked without data or devices.

    Attributes:
      phases: what to minimize, first to last.
      validation: attacks; robust are the images that withstand all of them.
      comparable: whether validation scores of two epochs speak of the same balls; if
        not, the last epoch is taken for the best.
      single_step: whether the training attacks take one step.
      optimizer: the optimizer's fields.
      schedule: the schedule's fields.
      augmentations: of the training images, first to last.
      mixing: of pairs of them, or None.
      awp: perturbs the weights in each step, or None.
    """

    phases: tuple[Phase, ...]
    validation: tuple[Any, ...]
    comparable: bool
    single_step: bool
    optimizer: optim.Optimizer
    schedule: optim.Schedule
    augmentations: tuple[Any, ...]
    mixing: Any = None
    awp: Awp | None = None

    @property
    def defense(self) -> Any:
        """That of the last phase, which the others lead to."""
        return self.phases[-1].defense

    @property
    def warm_up(self) -> int:
        """The epochs before the last phase."""
        return self.phases[-2].until if len(self.phases) > 1 else 0

    @property
    def features(self) -> tuple[str, ...]:
        """Those of the data set that attacks want, in training or in validation."""
        defenses = (phase.defense for phase in self.phases)
        return features_of([*defenses, *self.validation])

    def phase(self, epoch: int) -> int:
        """The number of the phase of an epoch, which is counted from 0."""
        return next(i for i, phase in enumerate(self.phases) if epoch < phase.until)

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
    phases = _phases(config, attacks)
    _check_extra(config, phases)
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
        phases=phases,
        validation=validation,
        comparable=comparable,
        single_step=bool(attacks) and all(attack.steps == 1 for attack in attacks),
        optimizer=_of_kind(config, "optimizer", optim.Optimizer, optim.OPTIMIZERS),
        schedule=_of_kind(config, "schedule", optim.Schedule, optim.SCHEDULES),
        augmentations=_augmentations(config),
        mixing=_mixing(config, phases),
        awp=_awp(config, phases),
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


def _phases(config, attacks) -> tuple[Phase, ...]:
    """The phases in their order; clean training alone has no other before it."""
    main = _defense(plain(config.defense), attacks, "config.defense")
    found = [
        _phase(label, plain(spec), attacks) for label, spec in config.phases.items()
    ]
    clean: Any = Clean  # a type checker sees no fields in a flax dataclass
    if config.clean_epochs and not (type(main) is clean and not found):
        found.append(Phase("clean_epochs", config.clean_epochs, clean()))
    found.sort(key=lambda phase: phase.until)
    for first, second in itertools.pairwise(found):
        if first.until == second.until:
            raise specs.UsageError(
                f"{_end(first)} and {_end(second)} are both {first.until}, so one of "
                "the two has no epoch; give them different ones"
            )
    if found and found[-1].until >= config.epochs:
        raise specs.UsageError(
            f"{_end(found[-1])} is {found[-1].until} of config.epochs={config.epochs}: "
            "no epoch is left for the defense; give fewer, or more epochs"
        )
    phases = (*found, Phase("defense", config.epochs, main))
    _check_since(phases)
    return phases


def _check_since(phases):
    """Raises UsageError where a phase is told of other epochs without noise."""
    silent = [p.until for p in phases if protocols.is_silent(p.defense)]
    epochs = max(silent, default=0)
    for phase in phases:
        since = protocols.noise_since(phase.defense)
        if since not in (None, epochs):
            last = phase is phases[-1]
            where = f"config.{'defense' if last else f'phases.{phase.label}'}"
            raise specs.UsageError(
                f"{where}.since is {since}, but the phases without noise end with "
                f"epoch {epochs}; give {where}.since={epochs}"
            )


def _end(phase):
    """The field that says when a phase ends."""
    first = phase.label == "clean_epochs"
    return f"config.{phase.label if first else f'phases.{phase.label}.until'}"


def _phase(label, spec, attacks) -> Phase:
    where = f"config.phases.{label}"
    until = spec.pop("until", None)
    if not isinstance(until, int) or isinstance(until, bool) or until < 1:
        raise specs.UsageError(
            f"{where}.until is {until!r}; give the last epoch of the phase, a whole "
            "number >= 1"
        )
    return Phase(label, until, _defense(spec, attacks, where))


def _defense(spec, attacks, where) -> Any:
    """The defense that a spec describes, with the config's attacks."""
    make: Any = specs.lookup(spec.pop("name", None), DEFENSES, where)
    for field in specs.configurable(make):
        if "given" in field.metadata:
            spec[field.name] = tuple(attacks)
    return specs.construct(make, spec, where)


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


def _mixing(config, phases) -> Any:
    """What mixes images, after it is clear that all defenses learn what comes of it."""
    spec = plain(config.data.mix)
    asked = {"data.mix": bool(spec), "label_smoothing": config.label_smoothing > 0}
    for field in (name for name, given in asked.items() if given):
        for phase in phases:
            if not protocols.takes_targets(phase.defense):
                kind = type(phase.defense).__name__
                raise specs.UsageError(
                    f"config.{field} is given, but {kind} learns labels, not "
                    "probabilities; leave it out, or take adversarial or trades"
                )
    return specs.build(spec, MIXINGS, "config.data.mix") if spec else None


def _check_extra(config, phases):
    """Raises UsageError where a phase remembers single images, beside a second set."""
    for phase in phases if config.data.extra else ():
        many = 977  # no size of an image
        memory = jax.tree.leaves(phase.defense.init((4, 4, 1), many))
        if any(len(leaf) == many for leaf in memory if leaf.ndim):
            kind = type(phase.defense).__name__
            raise specs.UsageError(
                f"config.data.extra is given, but {kind} remembers single images of "
                "the first set; leave it out, or take another defense"
            )


def _awp(config, phases) -> Awp | None:
    found = Awp(**plain(config.awp))
    if found.gamma is None:
        return None
    defense = phases[-1].defense
    if not protocols.crafts(defense):
        raise specs.UsageError(
            f"config.awp.gamma is {found.gamma}, but {type(defense).__name__} does not "
            "attack images apart from its loss; leave it out, or take adversarial, "
            "trades or mart"
        )
    return found


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
