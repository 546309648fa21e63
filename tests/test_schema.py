"""Configs that are declared once: defaults, checks, help and tables from one place."""

import dataclasses
from collections.abc import Mapping

import pytest

from jaxadv import schema, specs
from jaxadv.attacks import ATTACKS
from jaxadv.evaluation import corruptions
from jaxadv.evaluation.suite.declared import Fields
from jaxadv.specs import UsageError, static
from jaxadv.training import settings


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float | None = static(None, above=0, below=1, unit="seconds", help="a rate")
    sizes: tuple[float, ...] = static((0.5,), minimum=0, help="some sizes")


@dataclasses.dataclass(frozen=True)
class Outer:
    count: int = static(3, minimum=1, help="a count")
    level: str = static("low", choices=("low", "high"), help="a | choice")
    inner: Inner = schema.group(Inner, "a group")
    free: Mapping[str, tuple | None] | None = static({"a": None}, help="any names")
    attack: schema.Spec = schema.spec(schema.Kind(ATTACKS), {"name": "pgd"}, help="one")
    attacks: Mapping = schema.spec(schema.Kind(ATTACKS), {}, labeled=True, help="more")


def test_a_config_has_the_defaults_and_the_types():
    config = schema.config(Outer)
    assert specs.plain(config) == specs.plain(schema.fill(Outer))
    assert config.count == 3 and config.inner.rate is None
    config.inner.rate, config.free.a = 0.5, (1,)
    assert schema.config(Outer).free.a is None  # each config has its own
    for name, wrong in (("rate", "0.5"), ("sizes", 3)):
        with pytest.raises(TypeError):
            config.inner[name] = wrong
    with pytest.raises(AttributeError):
        config.counts = 3
    assert set(schema.kinds(Outer)) == {"attack", "attacks.*"}


def test_filling_keeps_what_is_given_and_reads_fractions():
    full = schema.fill(Outer, {"count": 5, "inner": {"rate": "1/4", "sizes": ["1/2"]}})
    assert full["count"] == 5 and full["level"] == "low"
    assert full["inner"] == {"rate": 0.25, "sizes": (0.5,)}
    assert schema.fill(Outer, {"inner": None})["inner"] == schema.fill(Inner)
    schema.check(Outer, full, "c")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"count": 0}, "c.count is 0; it must be a whole number >= 1 and < 2**31"),
        ({"count": True}, "c.count is True; it must be a whole number"),
        ({"count": 2.0}, "c.count is 2.0; it must be a whole number"),
        ({"count": None}, "c.count is None"),
        ({"level": "mid"}, "c.level is 'mid'; allowed: low, high"),
        ({"level": ["low"]}, "c.level is ['low']; allowed: low, high"),
        ({"inner": 3}, "c.inner is 3; it must be a group of fields"),
        ({"inner": {"sizes": (1,)}}, "c.inner.rate is missing; it must be a finite"),
        (
            {"inner": {"rate": 1, "sizes": (1,)}},
            "c.inner.rate is 1; it must be a finite number > 0 and < 1, or None",
        ),
        (
            {"inner": {"rate": None, "sizes": (-1,)}},
            "a tuple of at least one, each a finite number >= 0",
        ),
        ({"inner": {"rate": None, "sizes": ()}}, "c.inner.sizes is ()"),
        ({"inner": {"rate": float("nan"), "sizes": (1,)}}, "c.inner.rate is nan"),
        ({"free": ()}, "c.free is (); it must be a group of fields, or None"),
        ({"attack": 3}, "c.attack is 3; it must be a spec: a name, or"),
        ({"cuont": 3}, "c: unknown field 'cuont' (did you mean 'count'?)"),
    ],
)
def test_what_is_not_as_declared_is_refused(change, words):
    with pytest.raises(UsageError) as error:
        schema.check(Outer, schema.fill(Outer) | change, "c")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_help_and_table_tell_default_unit_and_choices():
    told = schema.explain(Outer)
    assert told["inner.rate"] == "a rate; in seconds; default: none"
    assert told["level"] == "a | choice; one of low, high; default: 'low'"
    assert told["attack"] == "one; default: 'pgd'" and told["inner"] == "a group"
    lines = schema.table(Outer).splitlines()
    assert len(lines) == 2 + len(told)
    assert "| `count` | `3` | a whole number >= 1 and < 2**31 | a count |" in lines
    assert all(line.replace("\\|", "").count("|") == 5 for line in lines)


@pytest.mark.parametrize("make", [settings.Training, Fields, corruptions.Fields])
def test_every_field_has_a_sentence_and_a_default_that_passes(make):
    schema.check(make, specs.plain(schema.config(make)), "config")
    for path, field in schema.rows(make):
        assert field.metadata.get("help"), path
        assert "\n" not in schema.explain(make)[path]
