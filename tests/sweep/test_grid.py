"""What --grid and --seeds may say, and how folders are named."""

import itertools

import pytest

from jaxadv.specs import UsageError
from jaxadv.sweep import grid


@pytest.mark.parametrize(
    "text, values",
    [
        ("a.eps=2/255,4/255", ("2/255", "4/255")),
        ("a.name=pgd, apgd", ("pgd", "apgd")),
        ("--config.a.mean=(0.5,),(0.1,0.2)", ("(0.5,)", "(0.1,0.2)")),
        ("a.augment=('flip','crop'),()", ("('flip','crop')", "()")),
        (
            "a.attack={'name': 'pgd', 'steps': 3},x",
            ("{'name': 'pgd', 'steps': 3}", "x"),
        ),
        ("a.text='one,two',three", ("'one,two'", "three")),
        ("a.name=,pgd", ("", "pgd")),
        ("a.flag=a=b", ("a=b",)),
    ],
)
def test_values_stand_between_commas(text, values):
    found = grid.axis(text)
    assert found.values == values and found.path.startswith("a.")


@pytest.mark.parametrize(
    "texts, words",
    [
        (["attack.threat.eps"], "--grid is 'attack.threat.eps'; give a field"),
        (["=3"], "give a field and its values"),
        (["epochs=1,2,1"], "--grid epochs names '1' twice"),
        (["epochs=1", "epochs=2"], "--grid names 'epochs' twice"),
        (["seed=0,1"], "give --seeds"),
    ],
)
def test_mistakes_in_a_grid(texts, words):
    with pytest.raises(UsageError, match=words):
        grid.axes(texts)


def test_seeds():
    assert grid.seeds("0, 1,2") == (0, 1, 2)
    for bad in ("", "0,a", "-1", "1.5", "0,,1"):
        with pytest.raises(UsageError, match="--seeds"):
            grid.seeds(bad)
    with pytest.raises(UsageError, match="twice"):
        grid.seeds("0,0")


def test_points_are_the_cartesian_product():
    axes = grid.axes(["a=1,2", "b=x,y,z"])
    expected = [{"a": a, "b": b} for a, b in itertools.product("12", "xyz")]
    assert grid.points(axes) == expected
    assert grid.points([]) == [{}]


def test_names_say_what_differs_and_do_not_depend_on_the_order():
    point = {"attack.threat.eps": "8/255", "attack.name": "pgd"}
    turned = dict(reversed(point.items()))
    expected = "attack.name=pgd,attack.threat.eps=8_255,seed=1"
    assert grid.name(point, 1) == grid.name(turned, 1) == expected
    assert grid.name({}, 3) == "seed=3"


@pytest.mark.parametrize("value", ["../../x", "a b;rm $(x)", "", "('é',)", "x" * 500])
def test_names_are_one_plain_folder(value):
    name = grid.name({"a.b": value}, 0)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.,=_+-")
    assert "/" not in name and len(name) < 100
