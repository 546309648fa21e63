"""Building from plain dictionaries, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import hints, specs, struct
from jaxadv.attacks import ATTACKS, Ascent
from jaxadv.objectives import Margin
from jaxadv.specs import UsageError
from jaxadv.threats import Linf, Masked
from jaxadv.training import optim

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


def test_what_a_part_lacks_is_named():
    with pytest.raises(UsageError, match=r"^config.attack: it lacks 'threat'$"):
        specs.build({"name": "pgd"}, ATTACKS, "config.attack")


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
@pytest.mark.parametrize("value", ["8/0", float("inf"), float("nan"), True, [0.1]])
def test_a_number_is_a_finite_number(make, value):
    with pytest.raises(UsageError, match=r"(eps|step_size) is .* must be") as error:
        make(value)
    assert "\n" not in str(error.value)


def test_a_fraction_in_a_spec_is_a_number():
    spec = {**PGD, "step_size": "2/255", "threat": {"name": "linf", "eps": "8 / 255"}}
    attack = specs.build(spec, ATTACKS, "c")
    assert (attack.step_size, attack.threat.eps) == (2 / 255, 8 / 255)
    for given, found in (("-1e2/.5", -200.0), ("1/3.", 1 / 3), ("8/0", "8/0")):
        assert hints.number(given) == found
    for other in ("1/2/3", "a/2", "8/", "1+1/2", "8", None, 3):
        assert hints.number(other) is other
    with pytest.raises(UsageError, match="steps is '10/2'; it must be of type int"):
        specs.build({**PGD, "steps": "10/2"}, ATTACKS, "c")


def test_types_are_read_as_types_and_not_by_their_spelling():
    class Hint:
        """Has int in its name."""

    def make(text: "float | None" = None, hint: Hint | None = None, both: "int" = 1):
        return text, hint, both

    found = specs.construct(make, {"text": 1, "hint": "a", "both": 2.0}, "c")
    assert found == (1.0, "a", 2) and isinstance(found[0], float)
    with pytest.raises(UsageError, match="c.both is 0.5; it must be of type int"):
        specs.construct(make, {"both": 0.5}, "c")
    schedule = {"kind": "steps", "drop_epochs": ("1/2", 3)}
    assert specs.construct(optim.Schedule, schedule, "c").drop_epochs == (0.5, 3.0)
    with pytest.raises(UsageError, match=r"c.drop_epochs is 3; .* of type tuple"):
        specs.construct(optim.Schedule, {**schedule, "drop_epochs": 3}, "c")


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


def test_fields_whose_types_are_text_are_checked_as_others():
    @struct.dataclass
    class Text:
        size: "float | None" = specs.leaf(None, minimum=0.0)
        count: "int" = specs.static(1, minimum=1)

        __post_init__ = specs.check

    size = next(f for f in specs.fields(Text) if f.name == "size")
    assert specs.is_number(size) and specs.construct(Text, {"size": "1/4"}, "c").size
    for wrong in ({"size": float("inf")}, {"size": "a"}, {"count": 0}, {"count": 1.5}):
        with pytest.raises(UsageError, match=f"Text.{next(iter(wrong))} is "):
            Text(**wrong)
