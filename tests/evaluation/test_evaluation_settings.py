"""What a suite says, what it says while it runs, and what that costs."""

import jax
import jax.numpy as jnp
import pytest

from jaxadv.craft import Crafter, whole_chunk
from jaxadv.evaluation.run import meters
from jaxadv.evaluation.suite import config as configs
from jaxadv.specs import UsageError
from tests.evaluation.test_evaluation import CONFIG, pgd, run


@pytest.mark.parametrize(
    "change, match",
    [
        ({"atacks": {}}, "unknown field 'atacks'.*did you mean 'attacks'"),
        ({"attacks": {}}, "config.attacks is empty"),
        ({"attacks": {"a/b": pgd()}}, "label 'a/b'"),
        ({"attacks": {"clean": pgd()}}, "'clean' is the name of another row"),
        (
            {"attacks": {"u": pgd()}, "unions": {"u": None}},
            "'u' is the name of another",
        ),
        ({"attacks": {"p": pgd(step=3)}}, "config.attacks.p: unknown field 'step'"),
        ({"attacks": {"p": pgd(eps=None)}}, "p.threat.eps is None.*--config.eps"),
        ({"attacks": {"p": 3}}, "config.attacks.p is 3"),
        ({"examples": -1}, "config.examples is -1"),
        ({"batch_size": 0}, "config.batch_size is 0"),
        ({"unions": {"u": ("pgd", "x")}}, "config.unions.u names 'x'"),
        ({"seen": ("x",)}, "config.seen names 'x'.*pgd, noise"),
        ({"about": {"authr": ""}}, "config.about: unknown field 'authr'"),
        ({"curve": {"attack": pgd(), "eps": (0.2, 0.1)}}, "must be ascending"),
        ({"curve": {"attack": pgd(), "points": 0}}, "config.curve.points is 0"),
        ({"curve": {"attack": pgd(), "up_to": -1.0}}, "config.curve.up_to is -1"),
    ],
)
def test_mistakes_in_a_config_name_the_field(change, match):
    with pytest.raises(UsageError, match=match) as error:
        configs.resolve({**CONFIG, **change})
    assert "\n" not in str(error.value)


TRAINING = {"attack": {"name": "pgd", "threat": {"name": "linf", "eps": 0.3}}}


@pytest.mark.parametrize("training", [TRAINING, {"attacks": {"a": TRAINING["attack"]}}])
def test_eps_and_seen_attacks_come_from_the_training(training):
    attacks = {"linf": pgd(eps=None), "l2": pgd("l2", eps=1.5), "w": pgd(eps=0.1)}
    plan = configs.resolve({"attacks": attacks}, training)
    assert [p.eps for p in plan.attacks] == [0.3, 1.5, 0.1]
    assert plan.seen == ("linf", "w")
    override = configs.resolve({"attacks": attacks, "eps": 0.2, "seen": ()}, training)
    assert override.attacks[0].eps == 0.2 and override.seen == ()
    with pytest.raises(UsageError, match="not trained with a 'l2' threat"):
        configs.resolve({"attacks": {"l2": pgd("l2", eps=None)}}, training)


def test_compile_time_is_the_union_of_its_spans():
    with meters.Stopwatch("stage") as watch:
        jax.jit(lambda x: jnp.sin(x) * 1.2345)(jnp.arange(3.0))
    assert watch.programs >= 1
    assert 0 < watch.compile_seconds <= watch.seconds
    watch._spans = [(0.0, 2.0), (1.0, 1.5), (1.0, 3.0), (5.0, 6.0)]
    assert watch.compile_seconds == 4.0
    before = watch.programs
    jax.jit(lambda x: jnp.cos(x) * 1.2345)(jnp.arange(3.0))
    assert watch.programs == before  # it has stopped listening


def test_a_stage_says_once_that_it_compiles(capsys, lowered):
    with meters.Stopwatch("pgd"):
        lowered(0.01)  # a small program
        assert capsys.readouterr().err == ""
        lowered(2.0)
        lowered(2.0)
        assert capsys.readouterr().err == "pgd: compiling …\n"
    lowered(2.0)
    assert capsys.readouterr().err == ""


def test_an_evaluation_names_what_it_compiles(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxadv.training.log._LONG", 0.0)
    run(tmp_path, crafter=Crafter())
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("pgd: compiling …") == lines.count("noise: compiling …") == 1


def test_progress_shows_a_bound_that_only_falls(capsys):
    progress = meters.Progress("pgd", 8, wrong=2, every_seconds=0.0)
    progress.update(4, 1)
    progress.update(4, 3)
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "pgd: 4/8 images, accuracy <= 70.0 %"
    assert lines[-1] == "pgd: 8/8 images, accuracy <= 40.0 %"


def test_chunks_divide_the_steps():
    assert [whole_chunk(n, 5) for n in (0, 1, 4, 7, 12, 20)] == [5, 1, 4, 1, 4, 5]
