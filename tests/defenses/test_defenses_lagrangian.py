"""The configs of Lagrangian training and of its rivals, and a step of each."""

import importlib

import jax
import numpy as np
import pytest

from jaxadv.attacks import ATTACKS
from jaxadv.defenses import Adversarial
from jaxadv.specs import UsageError, build, plain
from jaxadv.threats import Linf
from jaxadv.training import settings
from tests.defenses.test_defenses import entropies, evaluate, setup
from tests.paths import ROOT

FOLDER = ROOT / "configs/lagrangian"
NAMES = sorted(file.stem for file in FOLDER.glob("[a-z]*.py"))


def config(name, *text):
    return importlib.import_module(f"configs.lagrangian.{name}").get_config(*text)


@pytest.mark.parametrize("name", NAMES)
def test_every_config_is_a_plan_that_validates_in_one_ball(name):
    plan = settings.plan(config(name))
    (attack,) = plan.validation
    assert isinstance(attack.threat, Linf) and attack.keep == "best" and plan.comparable
    assert f"`{name}.py`" in (FOLDER / "README.md").read_text("utf-8") or (
        f"/{name}.py" in (FOLDER / "README.md").read_text("utf-8")
    )


def test_the_variants_are_what_they_say():
    box, paper, code = (
        config("cifar10_lagrangian", text).attack for text in ("box", "paper", "code")
    )
    assert (box.lam, box.step_size, box.steps, box.decay) == (2.0, 0.15, 5, 0.1)
    assert box.clip and not paper.clip and code.clip
    assert (paper.deviation, code.deviation) == (0.1, 0.01)
    assert (paper.objective.kappa, code.objective.kappa) == (float("inf"), 1.0)
    imagenet = config("imagenet100_lagrangian")
    assert (imagenet.attack.lam, imagenet.attack.step_size) == (0.45, 0.25)
    assert tuple(imagenet.schedule.drop_epochs) == (30, 60, 80)
    with pytest.raises(UsageError, match="'boxed'; known: box, paper, code"):
        config("cifar10_lagrangian", "boxed")


@pytest.mark.parametrize("name", ["lagrangian", "msd", "ddn", "cw"])
def test_a_step_trains_on_what_the_attack_made(name):
    params, state, batch = setup()
    spec = plain(config(f"shapes_{name}").attack)
    attack = build(spec, ATTACKS, "attack")
    loss, out = evaluate(Adversarial((attack,)), params, state, batch)
    clean = np.mean(entropies(params, batch["image"], batch["label"]))
    assert np.isfinite(loss) and float(loss) > clean
    assert float(out.metrics["robust_accuracy"]) < 1

    def value(params):
        return Adversarial((attack,)).loss(params, state, batch, jax.random.key(0))[0]

    slopes = jax.tree.leaves(jax.jit(jax.grad(value))(params))
    assert all(np.all(np.isfinite(slope)) and np.any(slope) for slope in slopes)
