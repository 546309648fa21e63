"""Flags: every field of every object is one, other objects, and one network for all."""

import json

import jax
import pytest
from ml_collections import ConfigDict

from jaxadv import cli, completion, configfiles, schema, specs
from jaxadv.attacks import ATTACKS
from jaxadv.attacks.perceptual.lagrange import Lpa
from jaxadv.evaluation.suite import config as suites
from jaxadv.evaluation.suite import planned
from jaxadv.perceptual import DISTANCES
from jaxadv.threats import THREATS
from jaxadv.training import settings
from tests import examples
from tests.paths import ROOT

TRAINING = "configs/baselines/mnist5k_clean.py"
SUITES = [
    "autoattack.py", "autoattack.py:plus,l2", "autoattack.py:rand",
    "autoattack.py:standard,l1", "linf.py", "minimal.py", "narrow_cifar.py",
    "narrow_imagenet100.py", "perceptual.py", "quick.py", "uar.py:cifar10,jpeg_linf",
    "uar.py:imagenet100,fog+snow", "unseen_cifar.py", "unseen_cifar.py:budgets",
    "unseen_imagenet100.py", "unseen_shapes.py", "unseen_shapes.py:budgets",
    "unseen_shapes.py:gray",
]  # fmt: skip
PGD = ["--config.attack.name=pgd", "--config.attack.threat.name=linf"]
SOME = {float: 0.5, int: 3, str: "some", tuple: "(1, 2)", object: 0.5}


@pytest.fixture
def parse(monkeypatch, tmp_path, capsys):
    """The config after flags, or the error's text."""
    monkeypatch.chdir(ROOT)
    jax.devices()  # so that the number of devices is settled

    def run(file, *flags, check=lambda config: None):
        found = []
        status = cli.main(
            ["program", f"--config={file}", f"--workdir={tmp_path}", *flags],
            lambda config, _: found.append(config),
            check,
            help_text="",
            fields={},
            whole_batch=False,
            kinds=suites.KINDS if "suites" in file else settings.KINDS,
        )
        error = capsys.readouterr().err
        return error if status else found[0]

    return run


def flags_of(config, path):
    """A flag for every field at and below `path`, with a value it does not have."""
    node = config
    for key in path.split("."):
        node = node[key]
    found = {}
    for key, value in node.items():
        here, kind = f"{path}.{key}", node.get_type(key)
        if isinstance(value, ConfigDict):
            found |= flags_of(config, here)
        elif value is None and kind in SOME:
            found[here] = SOME[kind]
        elif isinstance(value, bool):
            found[here] = not value
        elif isinstance(value, (int, float)):
            found[here] = value + 1
        elif value is not None and key != "name":  # None: a part, which has a name
            found[here] = value
    return found


def check_every_field(parse, file, paths, *flags):
    config = parse(file, *flags)
    assert isinstance(config, ConfigDict), config
    wanted = {}
    for path in paths:
        wanted |= flags_of(config, path)
    changed = parse(file, *flags, *(f"--config.{k}={v}" for k, v in wanted.items()))
    assert isinstance(changed, ConfigDict), changed
    found = specs.flat(settings.plain(changed))
    for path, value in wanted.items():
        other = {"step_size": "rel_step_size", "rel_step_size": "step_size"}
        value = (1, 2) if value == SOME[tuple] else value
        assert found[path] == value or path.split(".")[-1] in other, path
    return set(wanted)


def declared(make, path):
    """Paths of all fields that a class declares, and of those of its default parts."""
    for field in specs.configurable(make):
        if field.name not in ("kind", "attacks"):
            yield f"{path}.{field.name}", "registry" in field.metadata


def test_a_flag_may_say_none(parse):
    paths = ["patience", "data.image_size", "init_from", "init_new"]
    paths += ["optimizer.momentum"]
    first = ["--config.patience=3", "--config.init_new=('a',)"]
    config = parse(TRAINING, *first, *(f"--config.{path}=None" for path in paths))
    assert config.patience is config.init_from is config.init_new is None
    assert config.data.image_size is config.optimizer.momentum is None
    assert config.get_type("patience") is int
    assert parse(TRAINING, *first, "--config.patience", "None").patience is None
    both = ["--config.patience=None", "--config.patience=3"]
    assert parse(TRAINING, *both).patience == 3  # the last counts
    assert "it is a group" in parse(TRAINING, "--config.validation=None")


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("place", ["attack", "attacks.a", "validation.attack"])
def test_every_field_of_every_attack_is_a_flag_in_training(parse, name, place):
    threat = examples.threat_for(name)
    flags = [f"--config.{place}.name={name}", f"--config.{place}.threat.name={threat}"]
    found = check_every_field(parse, TRAINING, [place], *flags)
    for make, path in (
        (ATTACKS[name], place), (THREATS[threat], f"{place}.threat")
    ):  # fmt: skip
        plain = {field for field, is_part in declared(make, path) if not is_part}
        assert plain <= found


@pytest.mark.parametrize("text", SUITES)
def test_every_field_of_every_suite_is_a_flag(parse, text):
    file = f"configs/suites/{text}"
    config = parse(file)
    new = [f"--config.attacks.new.name={next(iter(ATTACKS))}"]
    new += [f"--config.distances.{name}.name={name}" for name in DISTANCES]
    places = [f"attacks.{label}" for label in [*config.attacks, "new"]]
    places += [f"distances.{name}" for name in DISTANCES]
    found = check_every_field(parse, file, [*places, "black_box", "curve"], *new)
    for label, spec in config.attacks.items():
        for path, is_part in declared(ATTACKS[spec.name], f"attacks.{label}"):
            assert is_part or path in found
    assert "distances.lpips.squared" in found and "curve.points" in found


def test_parts_that_were_refused_are_flags(parse):
    suite = "configs/suites/narrow_cifar.py"
    found = parse(
        suite,
        "--config.attacks.lpa.threat.projection=bisection",
        "--config.attacks.lpa.threat.derivative=secant",
        "--config.attacks.stadv.threat.smooth=0.5",
        "--config.attacks.recolor.restarts=3",
        "--config.distances.l2.name=l2",
    ).attacks
    assert found.lpa.threat.projection == "bisection"
    assert found.stadv.threat.smooth == 0.5 and found.recolor.restarts == 3


def test_numbers_may_be_written_as_fractions(parse):
    config = parse(
        "configs/baselines/mnist5k_pgd_at.py",
        "--config.attack.threat.eps=8/255",
        "--config.attack.step_size", "2/255",
        "--config.ema_decay=999/1000",
        "--config.normalize.mean=(1/2,0.25, 3/4)",
        "--config.optimizer.learning_rate=1/8",
    )  # fmt: skip
    assert (config.attack.threat.eps, config.attack.step_size) == (8 / 255, 2 / 255)
    assert (config.ema_decay, config.optimizer.learning_rate) == (0.999, 0.125)
    assert config.normalize.mean == (0.5, 0.25, 0.75)
    suite = parse(
        "configs/suites/linf.py", "--config.eps=8/255", "--config.curve.eps=(1/4,1/2)",
        "--config.unions.union=('1/2',)", "--config.name=1/2",
    )  # fmt: skip
    assert suite.eps == 8 / 255 and suite.curve.eps == (0.25, 0.5)
    assert suite.unions.union == ("1/2",) and suite.name == "1/2"
    for flag in ("attack.threat.eps=8/0", "attack.threat.eps=1+1/2", "epochs=4/2"):
        assert flag.split("=")[1] in parse(TRAINING, f"--config.{flag}", *PGD)


@pytest.mark.parametrize(
    "file",
    ["baselines/mnist5k_clean", "minmax/mnist5k_gat", "perceptual/mnist5k_pat_self"],
)
def test_any_config_takes_another_network_attack_and_defense(parse, file):
    config = parse(
        f"configs/{file}.py",
        "--config.model.name=wrn_28_10",
        "--config.attack.name=apgd",
        "--config.defense.name=trades",
        "--config.defense.beta=1/2",
        "--config.attack.rho=3/4",
    )
    assert (config.model.name, config.model.compute_dtype) == ("wrn_28_10", "float32")
    assert (config.attack.name, config.attack.rho) == ("apgd", 0.75)
    assert (config.defense.name, config.defense.beta) == ("trades", 0.5)


def test_a_step_of_one_kind_takes_the_place_of_the_other(parse):
    file = "configs/baselines/mnist5k_pgd_at.py"
    assert parse(file).attack.rel_step_size
    attack = parse(file, "--config.attack.step_size=1/5").attack
    assert (attack.step_size, attack.rel_step_size) == (0.2, None)
    both = ("--config.attack.step_size=1/5", "--config.attack.rel_step_size=1/5")
    assert "step_size" in parse(file, *both, check=settings.plan)
    suite = parse("configs/suites/quick.py", "--config.attacks.pgd_linf.step_size=1/5")
    assert suite.attacks.pgd_linf.rel_step_size is None


def test_training_takes_attacks_by_their_names(parse):
    given = [
        "--config.defense.name=adversarial",
        "--config.attacks.a.name=pgd",
        "--config.attacks.a.threat.name=linf",
        "--config.attacks.a.threat.eps=0.1",
        "--config.attacks.a.rel_step_size=0.25",
        "--config.attacks.b.name", "fgsm",
        "--config.attacks.b.threat.name", "l2",
        "--config.attacks.b.threat.eps", "1",
    ]  # fmt: skip
    config = parse(TRAINING, *given, check=settings.plan)
    assert [a.name for a in config.attacks.values()] == ["pgd", "fgsm"]
    assert config.attacks.a.keep == "last"
    # One that is there is taken away by an empty name.
    file = "configs/baselines/mnist5k_pgd_at.py"
    error = parse(file, *given, check=settings.plan)
    assert "keep one of them (--config.attack.name= takes the first away)" in error
    config = parse(file, *given, "--config.attack.name=", check=settings.plan)
    assert len(settings.plan(config).validation) == 2
    error = parse(TRAINING, *given[:3], check=settings.plan)
    assert "config.attacks.a.threat.eps is missing" in error
    error = parse(TRAINING, *given[:2], check=settings.plan)
    assert "config.attacks.a.threat is missing" in error


def test_an_empty_name_takes_an_attack_out_of_a_suite(parse):
    file = "configs/suites/linf.py"
    config = parse(file, "--config.attacks.noise_linf.name=")
    assert list(config.attacks) == ["fgsm_linf", "pgd_l2", "pgd_linf"]
    assert list(parse(file, "--config.attacks.other.name=").attacks) == [
        "fgsm_linf", "noise_linf", "pgd_l2", "pgd_linf"
    ]  # fmt: skip


def test_another_name_keeps_what_was_chosen_and_takes_other_defaults(parse):
    attack = parse(
        "configs/baselines/mnist5k_pgd_at.py", "--config.attack.name=min_max"
    ).attack
    assert attack.threat.eps == 0.15 and attack.steps == 7
    assert "rel_step_size" not in attack and attack.objective.name == "weighted"
    assert attack.objective.objective.kappa == 50.0
    attack = parse(
        "configs/perceptual/mnist5k_pat_self.py", "--config.attack.name=lpa"
    ).attack
    assert (attack.rounds, attack.objective.kappa) == (5, 1.0)
    whole = parse(
        "configs/baselines/mnist5k_pgd_at.py", "--config.attack.name=pgd"
    ).attack
    assert whole == parse("configs/baselines/mnist5k_pgd_at.py").attack


def test_completing_changes_no_object():
    for name, make in ATTACKS.items():
        spec = {"name": name, "threat": {"name": "linf", "eps": 0.1}}
        full = completion.filled(spec, schema.Kind(ATTACKS), "config.attack")
        full = specs.plain(ConfigDict(full))
        assert json.loads(json.dumps(full))["name"] == name
        part = next(f for f in specs.configurable(make) if f.name == "objective")
        found = specs.build(
            full["objective"], part.metadata["registry"](), "objective"
        )  # fmt: skip
        assert found == schema.default(part), name
    assert Lpa.__dataclass_fields__["objective"].default_factory().kappa == 1.0
    views = {"name": "weighted", "over": "transforms"}
    spec = {"name": "min_max", "threat": {"name": "linf"}, "objective": views}
    full = completion.filled(spec, schema.Kind(ATTACKS), "config.attack")
    parts = json.loads(json.dumps(full["objective"]["over"]))["parts"]
    assert [part["name"] for part in parts][:2] == ["identity", "flip_left_right"]


PATH = "threat.network.path"


@pytest.mark.parametrize("name", ["cifar10", "imagenet100", "mnist5k", "shapes"])
def test_a_network_that_is_given_once_serves_training_and_validation(parse, name):
    file, flag = (
        f"configs/perceptual/{name}_pat_alexnet.py",
        f"--config.attack.{PATH}=w",
    )

    def networks(*flags):
        config = parse(file, *flags)
        return config.attack.threat.network, config.validation.attack.threat.network

    trained, validated = networks(flag)
    assert trained == validated and trained.path == "w"
    trained, validated = networks(flag, f"--config.validation.attack.{PATH}=v")
    assert (trained.path, validated.path) == ("w", "v")
    trained, validated = networks("--config.attack.threat.network.name=vgg16")
    assert trained == validated and trained.name == "vgg16"


def test_networks_that_are_told_apart_stay_apart(parse):
    suite = "configs/suites/narrow_cifar.py"
    attacks = parse(suite, f"--config.attacks.lpa.{PATH}=w").attacks
    assert attacks.ppgd.threat.network.path == "w"
    suite, flags = "configs/suites/perceptual.py", []
    for path in (f"attacks.lpa.{PATH}", "distances.lpips_external.network.path"):
        flags.append(f"--config.{path}={len(flags)}")
    config = parse(suite, *flags)
    assert config.attacks.lpa.threat.network.path == "0"
    assert config.distances.lpips_external.network.path == "1"
    assert config.distances.lpips_self.network is None


def test_suites_plan_the_same_attacks_when_they_are_complete(parse):
    for text in (
        "linf.py",
        "minimal.py",
        "autoattack.py:rand",
        "uar.py:cifar10,elastic",
    ):
        given = configfiles.load(str(ROOT / "configs/suites" / text))
        full = settings.complete(given.copy_and_resolve_references(), suites.KINDS)
        eps = planned.Eps(0.1, [])
        for label, spec in settings.plain(given.attacks).items():
            whole = settings.plain(full.attacks)[label]
            before, after = (
                planned.plan("a", s, eps, "a").attack for s in (spec, whole)
            )
            assert before == after
