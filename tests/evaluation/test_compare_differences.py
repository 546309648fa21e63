"""Columns for what differs between the runs compared, and for nothing else."""

import copy
import csv

import pytest

from jaxadv.evaluation.tools import compare, differences
from tests.evaluation.test_evaluation_compare import report, save

TRAINING = {
    "seed": 0,
    "epochs": 8,
    "data": {"name": "digits", "data_dir": None},
    "model": {"name": "mlp"},
    "defense": {"name": "adversarial"},
    "attacks": {},
    "attack": {
        "name": "pgd",
        "steps": 7,
        "threat": {"name": "linf", "eps": 8 / 255},
    },
}


def changed(**fields):
    """The training with other values: `attack__steps` is attack.steps."""
    found = copy.deepcopy(TRAINING)
    for path, value in fields.items():
        *above, last = path.split("__")
        node = found
        for key in above:
            node = node[key]
        node[last] = value
    return found


def differing(*trainings):
    reports = [report(model={"training": training}) for training in trainings]
    return differences.differing([differences.fields(one) for one in reports])


def test_what_is_the_same_has_no_column():
    assert differing(TRAINING, changed()) == {}
    assert differing(TRAINING) == {}


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"seed": 1}, {"seed": ["0", "1"]}),
        ({"attack__steps": 3}, {"attack.steps": ["7", "3"]}),
        ({"attack__threat__eps": 0.1}, {"attack.threat.eps": ["0.03137", "0.1"]}),
        # Told apart whatever it takes.
        (
            {"attack__threat__eps": 0.0313726},
            {"attack.threat.eps": [str(8 / 255), "0.0313726"]},
        ),
        (
            {"seed": 2, "model": {"name": "lenet", "width": 3}},
            {"seed": ["0", "2"], "model.name": ["mlp", "lenet"]},
        ),
        # Clean training has no attack; its name says so, and its fields do not.
        (
            {"attack": {}, "defense": {"name": "clean"}},
            {"defense.name": ["adversarial", "clean"], "attack.name": ["pgd", "-"]},
        ),
        (
            {"attacks": {"a": {"name": "fgsm", "threat": {"name": "l2", "eps": 1.0}}}},
            {"attacks.a.name": ["-", "fgsm"]},
        ),
        # A version that did not know a field yet.
        ({"ema_decay": 0.9}, {}),
        ({"data__data_dir": "a"}, {"data.data_dir": ["None", "a"]}),
    ],
)
def test_fields_of_trainings(fields, expected):
    assert differing(TRAINING, changed(**fields)) == expected


def test_a_field_of_some_that_differs_among_them():
    clean = changed(attack={}, defense={"name": "clean"})
    found = differing(clean, TRAINING, changed(attack__threat__eps=0.1))
    assert found["attack.threat.eps"] == ["-", "0.03137", "0.1"]
    assert set(found) == {"defense.name", "attack.name", "attack.threat.eps"}


def test_what_nothing_is_known_of_decides_nothing():
    """An evaluation of a model that jaxadv has not trained."""
    bare = differences.fields(report(model={"architecture": "x"}))
    known = differences.fields(report(model={"training": TRAINING}))
    assert differences.differing([bare, known]) == {}


def test_suites():
    def of(**more):
        found = report(**more)
        for attack in found["attacks"].values():
            attack["spec"] = {"name": "pgd", "threat": {"eps": attack["eps"]}}
        return differences.fields(found)

    assert differences.differing([of(), of()]) == {}
    other = of(suite="linf", seed=3)
    assert differences.differing([of(seed=0), other]) == {
        "suite": ["perceptual", "linf"],
        "suite.seed": ["0", "3"],
    }
    fewer = of(attacks={"a": 1, "z": 2}, eps=0.2)
    assert differences.differing([of(), fewer]) == {
        "suite.attacks.a.threat.eps": ["0.1", "0.2"]
    }


def test_the_columns_stand_in_all_tables(tmp_path, capsys):
    paths = [
        save(tmp_path / f"{i}.json", report(name, model={"training": training}))
        for i, (name, training) in enumerate(
            {"a": TRAINING, "b": changed(attack__steps=3, seed=1)}.items()
        )
    ]
    out = tmp_path / "out"
    assert compare.main([*map(str, paths), "--output", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    first = [line.split() for line in printed[:3]]  # two runs: each is a column
    assert first == [["run", "a", "b"], ["seed", "0", "1"], ["attack.steps", "7", "3"]]
    page = (out / "compare.md").read_text()
    assert "| run | seed | attack.steps | data | n |" in page
    assert "| b | 1 | 3 | digits test | 100 |" in page
    with open(out / "compare.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["attack.steps"] for row in rows] == ["7", "3"]
    assert "epochs" not in rows[0]


def test_names_that_others_have_chosen_do_nothing(tmp_path):
    hostile = changed(data__name="=cmd|' /C calc'!A0", model={"name": "<b>x"})
    paths = [
        save(tmp_path / f"{i}.json", report(model={"training": training}))
        for i, training in enumerate((TRAINING, hostile))
    ]
    compare.compare(paths, tmp_path / "out")
    assert "<b>" not in (tmp_path / "out" / "compare.md").read_text()
    with open(tmp_path / "out" / "compare.csv", newline="") as file:
        assert [row["data.name"][:1] for row in csv.DictReader(file)] == ["d", "'"]


@pytest.mark.parametrize("model", ["x", {"training": "x"}, {"training": [1]}])
def test_a_damaged_report_is_one_line(tmp_path, capsys, model):
    path = save(tmp_path / "1.json", report(model=model))
    assert compare.main([str(path), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "1.json: no report of eval.py" in error and error.count("\n") == 1
