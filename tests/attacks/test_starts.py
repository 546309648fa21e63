"""Searches that start where their objective has no gradient are refused, or named."""

import jax
import numpy as np
import pytest

from jaxadv.attacks import Ascent, CarliniWagner, Ddn, ElasticNet, Fgsm, Fmn, MinMax
from jaxadv.craft import craft
from jaxadv.defenses.trades import Trades
from jaxadv.evaluation.checks import Probe, gradients
from jaxadv.evaluation.suite import config as configs
from jaxadv.objectives import KL, CrossEntropy, Expectation
from jaxadv.objectives.domains import Weighted
from jaxadv.specs import UsageError
from jaxadv.threats import L1, L2, Linf
from tests import nets

STEP = {"steps": 3, "step_size": 0.02}
REFUSED = {
    "pgd": lambda: Ascent(Linf(0.1), KL(), random_start=False, **STEP),
    "draws": lambda: Ascent(Linf(0.1), Expectation(KL()), random_start=False, **STEP),
    "fgsm": lambda: Fgsm(Linf(0.1), KL()),
    "min_max": lambda: MinMax(Linf(0.1), Weighted(objective=KL()), start="zero"),
    "carlini_wagner": lambda: CarliniWagner(L2(1.0), KL()),
    "fmn": lambda: Fmn(L2(1.0), KL()),
    "elastic_net": lambda: ElasticNet(L1(1.0), KL()),
    "trades": lambda: Trades((Ascent(Linf(0.1), random_start=False, **STEP),)),
    "trades_fgsm": lambda: Trades((Fgsm(Linf(0.1)),)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_start_without_a_gradient_is_refused(name):
    with pytest.raises(UsageError, match="KL, which has no gradient at the clean") as e:
        REFUSED[name]()
    assert "\n" not in str(e.value) and "; " in str(e.value)


def test_trades_does_not_start_at_the_image():
    with pytest.raises(UsageError, match="Trades.start is 0.0, the image itself"):
        Trades((Ascent(Linf(0.1), **STEP),), start=0.0)


@pytest.mark.parametrize(
    "attack",
    [
        Ascent(Linf(0.1), KL(), **STEP),
        MinMax(Linf(0.1), Weighted(objective=KL()), steps=3),
        Ddn(L2(2.0), KL(), steps=3, search=0),
    ],
)
def test_the_others_leave_the_image(attack):
    model, (images, _) = nets.linear(), nets.batch(3)
    labels = nets.predicted(model, images)
    got = jax.jit(craft)(attack, model, jax.random.key(0), images, labels)
    assert np.all(got.size > 0)


def planned(**specs):
    """Attacks of a suite by label, with four short steps."""
    step = {"name": "pgd", "steps": 4, "rel_step_size": 0.4}
    suite = {label: {**step, **spec} for label, spec in specs.items()}
    return configs.resolve({"attacks": suite}).attacks


def test_a_check_names_searches_that_begin_blind():
    """Spots of no strength and no amount: the gradient of a Gabor start is zero."""
    model, (images, _) = nets.linear(), nets.batch(4)
    probe = Probe(model, images, nets.predicted(model, images))
    gabor = {"threat": {"name": "gabor", "eps": 0.1}}
    suite = planned(
        spots={**gabor, "random_start": False},
        drawn=gabor,
        ball={"threat": {"name": "linf", "eps": 0.05}, "random_start": False},
    )
    found = gradients.zero(probe, attacks=suite)
    assert found.verdict == "warn"
    assert "the first gradient of a search was zero at: spots 4" in found.evidence
    assert "start where their objective has a gradient" in found.remedy
    alone = gradients.zero(probe, attacks=suite[:1])
    assert alone.verdict == "fail"
    sound = gradients.zero(probe, attacks=suite[1:])
    assert sound == gradients.zero(probe) and sound.verdict == "ok"


def test_a_sure_label_blinds_no_search_of_the_cross_entropy():
    """Its own gradient is zero there; what searches climb, `score`, has one."""
    model = nets.linear()
    model = model.replace(variables=jax.tree.map(lambda w: 1e3 * w, model.variables))
    images, _ = nets.batch(4)
    probe = Probe(model, images, nets.predicted(model, images))
    threat = {"name": "linf", "eps": 0.01}
    suite = planned(entropy={"threat": threat, "random_start": False})
    assert isinstance(suite[0].attack.objective, CrossEntropy)
    found = gradients.zero(probe, ("cross_entropy",), attacks=suite)
    assert found.verdict == "ok"
