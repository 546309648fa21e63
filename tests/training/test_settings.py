"""Configs with every field, and what they describe."""

import pytest

from jaxadv.specs import UsageError
from jaxadv.training import settings


def test_complete_configs_show_every_field():
    config = settings.default_config()
    config.attack = {"name": "pgd", "threat": {"name": "linf", "eps": 1}, "steps": 1}
    config.attack.rel_step_size = 1.25
    config = settings.complete(config)
    assert config.attack.keep == "last" and config.attack.restarts == 1
    assert isinstance(config.attack.threat.eps, float)
    assert config.attack.objective.name == "cross_entropy"
    config.attack.momentum = 0.5  # None before, but typed
    with pytest.raises(TypeError):
        config.attack.momentum = "much"
    plan = settings.plan(config)
    assert plan.single_step
    (attack,) = plan.validation
    assert attack.steps == 20 and attack.keep == "best"
    assert attack.rel_step_size == 2.5 / 20 and attack.step_size is None


def test_several_attacks_are_all_validated():
    config = settings.default_config()
    config.defense = {"name": "adversarial", "mode": "maximum"}
    config.attacks = {
        label: {"name": "fgsm", "threat": {"name": "linf", "eps": eps}}
        for label, eps in (("a", 0.1), ("b", 0.2))
    }
    plan = settings.plan(settings.complete(config))
    assert [attack.threat.eps for attack in plan.defense.attacks] == [0.1, 0.2]
    assert [attack.steps for attack in plan.validation] == [20, 20]


def test_a_penalized_attack_gives_no_ball_to_validate_in():
    config = settings.default_config()
    config.defense = {"name": "adversarial"}
    config.attack = {"name": "lagrangian"}
    config = settings.complete(config)
    assert config.attack.threat.name == "unbounded"
    with pytest.raises(UsageError, match="config.validation.attack is not given"):
        settings.plan(config)
    with config.unlocked():
        config.validation.attack = {
            "name": "pgd",
            "threat": {"name": "linf", "eps": 8 / 255},
            "rel_step_size": 0.25,
        }
    (attack,) = settings.plan(settings.complete(config)).validation
    assert attack.threat.norm == "linf" and attack.keep == "best"


def test_what_learns_labels_alone_is_refused(small_config):
    small_config.data.mix = {"name": "cutmix"}
    config = settings.complete(small_config)
    assert type(settings.plan(config).mixing).__name__ == "CutMix"
    config.defense = {"name": "mart"}
    with pytest.raises(UsageError, match="config.data.mix is given, but Mart"):
        settings.plan(settings.complete(config))
    config.data.mix, config.label_smoothing = {}, 0.1
    with pytest.raises(UsageError, match="config.label_smoothing is given, but Mart"):
        settings.plan(settings.complete(config))
