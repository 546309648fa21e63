"""Building from plain dictionaries, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import specs
from jaxadv.attacks import ATTACKS, Ascent
from jaxadv.objectives import Margin
from jaxadv.specs import UsageError
from jaxadv.threats import Linf, Masked

PGD = {
    "name": "pgd",
    "threat": {"name": "linf", "eps": 0.1},
    "objective": {"name": "margin", "kappa": 2},
    "steps": 5,
    "step_size": 0.02,
}


def test_builds_nested_parts():
    attack = specs.build(PGD, ATTACKS, "config.attack")
    want = Ascent(Linf(0.1), Margin(2.0), steps=5, step_size=0.02)
    assert attack == want
    assert isinstance(attack.objective.kappa, float)


def test_a_part_may_be_a_name_alone():
    spec = {**PGD, "objective": "dlr"}
    assert type(specs.build(spec, ATTACKS, "c").objective).__name__ == "DLR"


def test_masked_regions_are_built():
    regions = {"foreground": {"name": "l2", "eps": 1.0}, "background": PGD["threat"]}
    spec = {**PGD, "threat": {"name": "masked", **regions}}
    assert isinstance(specs.build(spec, ATTACKS, "c").threat, Masked)


BAD = {
    "unknown name": ({"name": "pdg"}, "did you mean 'pgd'"),
    "no name": ({"steps": 3}, "'name' is missing"),
    "unknown field": ({**PGD, "step": 3}, "unknown field 'step'"),
    "wrong type": ({**PGD, "steps": "many"}, "config.attack.steps"),
    "fraction of a step": ({**PGD, "steps": 2.5}, "config.attack.steps"),
    "negative eps": ({**PGD, "threat": {"name": "linf", "eps": -1.0}}, "Linf.eps"),
    "nan eps": (
        {**PGD, "threat": {"name": "linf", "eps": float("nan")}},
        "threat.eps is nan",
    ),
    "missing eps": ({**PGD, "threat": {"name": "linf"}}, "eps"),
    "both step sizes": ({**PGD, "rel_step_size": 0.1}, "exactly one"),
    "bad choice": ({**PGD, "schedule": "cosin"}, "'cosine'"),
    "nested unknown": ({**PGD, "threat": {"name": "l7"}}, "config.attack.threat"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case):
    spec, words = BAD[case]
    with pytest.raises(UsageError) as error:
        specs.build(spec, ATTACKS, "config.attack")
    message = str(error.value)
    assert words in message and "config.attack" in message
    assert "\n" not in message


def test_traced_and_batched_numbers_pass_unchecked():
    eps = jax.vmap(lambda e: Linf(e).eps)(jnp.array([0.1, -0.2]))
    assert np.allclose(eps, [0.1, -0.2])
    with pytest.raises(UsageError):
        Linf(np.array([0.1, -0.2]))


def test_attacks_are_pytrees_whose_numbers_are_leaves():
    attack = specs.build(PGD, ATTACKS, "c")
    assert sorted(jax.tree.leaves(attack)) == [0.02, 0.1, 2.0]
    doubled = jax.tree.map(lambda x: 2 * x, attack)
    assert doubled.threat.eps == 0.2 and doubled.steps == 5
