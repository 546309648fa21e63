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


@pytest.mark.parametrize("make", [
    lambda v: Linf(v), lambda v: Ascent(Linf(0.1), step_size=v),
    lambda v: specs.build({**PGD, "step_size": v}, ATTACKS, "c"),
])  # fmt: skip
@pytest.mark.parametrize("value", ["8/255", float("inf"), float("nan"), True, [0.1]])
def test_a_number_is_a_finite_number(make, value):
    with pytest.raises(UsageError, match=r"(eps|step_size) is .* must be") as error:
        make(value)
    assert "\n" not in str(error.value)


def test_counts_and_switches_are_of_their_own_type():
    for wrong in (2.5, "5", True, np.array([1, 2])):
        with pytest.raises(UsageError, match=r"Ascent.steps .* must be .*number"):
            Ascent(Linf(0.1), step_size=0.1, steps=wrong)  # type: ignore
    with pytest.raises(UsageError, match="random_start is 'no'; .* True or False"):
        Ascent(Linf(0.1), step_size=0.1, random_start="no")  # type: ignore
    with pytest.raises(UsageError, match=r"has shape \(2,\); .*per_image={'….eps'"):
        Linf(np.array([0.1, 0.2]))  # type: ignore
    many = np.where(np.arange(2000) == 1500, -1.0, 0.1)
    with pytest.raises(UsageError, match="^eps is -1 at 1500; it must be >= 0.0$"):
        specs.check_bounds(many, Linf.__dataclass_fields__["eps"], "eps")


def test_numbers_of_numpy_and_jax_and_an_infinite_kappa_are_numbers():
    for eps in (np.float32(0.1), np.float64(0.1), jnp.float32(0.1), jnp.bfloat16(0.1)):
        assert Linf(eps).eps == eps
    assert Ascent(Linf(1), step_size=1, steps=np.int64(3)).steps == 3
    assert Margin().kappa == Margin(float("inf")).kappa == float("inf")


def test_what_jax_puts_into_a_pytree_is_not_checked():
    """Batches, names of axes, placeholders: none of them was given by a user."""
    attack = specs.build(PGD, ATTACKS, "c")
    for filler in ("axis", None, object(), jnp.array([-1.0, 2.0])):
        filled = jax.tree.map(lambda _, f=filler: f, attack)
        assert filled.threat.eps is filler
