"""Accuracy against queries, of attacks that take no gradient."""

import numpy as np

from jaxadv.evaluation import metrics
from jaxadv.evaluation.metrics.queries import QUERIES, after
from jaxadv.evaluation.report import charts
from jaxadv.evaluation.run.runner import _asked
from jaxadv.evaluation.suite import config as configs
from jaxadv.evaluation.table import Table
from tests.evaluation.test_plots import decoded


def table():
    """Five images: one wrong before the attack, three broken, one that withstands."""
    columns = {
        "id": np.arange(5),
        "clean/margin": np.array([1.0, -1.0, -1.0, -1.0, -1.0]),
        "attack/few/success": np.array([True, True, True, True, False]),
        "attack/few/steps": np.array([0, 1, 1, 30, 76]),
        "attack/pgd/success": np.ones(5, bool),
        "attack/pgd/steps": np.ones(5, int),
    }
    attacks = {"few": {"spec": {}, "eps": 1, "queries": 10}, "pgd": {"spec": {}}}
    return Table(columns, {"attacks": attacks})


def test_accuracies_by_hand():
    found = QUERIES.compute(table())
    assert list(found) == ["few"]
    few = found["few"]
    assert few["queries"] == [0, 10, 300] and few["most"] == 760
    np.testing.assert_allclose(few["accuracy"], [0.8, 0.4, 0.2])
    assert few["median"] == 10
    for queries, left in ((0, 0.8), (9, 0.8), (10, 0.4), (299, 0.4), (300, 0.2)):
        assert after(few, queries) == left


def test_it_is_told_where_an_attack_takes_no_gradient():
    report = {"queries": QUERIES.compute(table())}
    (section,) = QUERIES.sections(report)
    assert section.rows == [
        (
            "attack",
            "median queries",
            "most queries",
            "after 1",
            "after 10",
            "after 100",
        ),
        ("few", "10", "760", "80.00", "40.00", "40.00"),
    ]
    assert QUERIES.csv(report)[1:] == [
        ("few", "0", "80.00"), ("few", "10", "40.00"), ("few", "300", "20.00")
    ]  # fmt: skip
    assert not list(QUERIES.sections({"queries": {}})) and len(QUERIES.csv({})) == 1
    assert QUERIES.applies(table())
    bare = table()
    del bare.metadata["attacks"]["few"]["queries"]
    assert not QUERIES.applies(bare)
    assert "queries" in metrics.METRICS


def test_a_later_part_of_a_cascade_begins_with_what_is_left():
    some = table()
    some.columns["attack/pgd/success"] = np.array([True, True, True, False, False])
    some.columns["attack/few/steps"] = np.array([0, 0, 0, 30, 76])
    some.metadata["cascades"] = {"aa": ["pgd", "few"]}
    few = QUERIES.compute(some)["few"]
    assert few["queries"] == [0, 300]
    np.testing.assert_allclose(few["accuracy"], [0.4, 0.2])


def test_nothing_broken_has_no_median():
    quiet = table()
    quiet.columns["attack/few/success"] = np.array([True, *[False] * 4])
    few = QUERIES.compute(quiet)["few"]
    assert few["median"] is None and few["accuracy"] == [0.8]


def test_queries_of_a_step_count_draws_and_candidates():
    ball = {"name": "l0", "pixels": True, "eps": 1}
    mean = {"name": "expectation", "samples": 3}
    specs = {
        "few": {"name": "few_pixel", "threat": ball, "population": 8},
        "mean": {"name": "few_pixel", "threat": ball, "population": 8,
                 "objective": mean},
        "square": {"name": "square", "threat": {"name": "linf", "eps": 0.1}},
        "pgd": {"name": "pgd", "threat": {"name": "linf", "eps": 0.1},
                "rel_step_size": 0.5},
    }  # fmt: skip
    plan = configs.resolve({"attacks": specs})
    found = {p.label: _asked(p.attack, 1).get("queries") for p in plan.attacks}
    assert found == {"few": 9, "mean": 27, "square": 1, "pgd": None}


def test_the_chart_has_a_line_an_attack(tmp_path):
    found = QUERIES.compute(table())
    path = tmp_path / "queries.png"
    charts.queries(found | {"other": found["few"]}, path, title="a title")
    assert decoded(path).shape[0] > 200
