"""An attack without a budget, from the suite to the page: it is called penalized."""

import json

import jax
import numpy as np
import pytest

from jaxadv import evaluation, specs
from jaxadv.attacks import ATTACKS, Ascent
from jaxadv.craft import craft
from jaxadv.evaluation.report import headline, judged
from jaxadv.evaluation.suite import config as configs
from jaxadv.evaluation.tools import compare
from jaxadv.evaluation.writing import cells
from jaxadv.specs import UsageError
from jaxadv.threats import Unbounded
from tests import nets
from tests.evaluation.test_evaluation import CONFIG, LABELS, MODEL, Quiet, pgd, source

LAGRANGIAN = {"name": "lagrangian", "lam": 2.0}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(folder, report, what was printed) of a suite with a ball and without."""
    folder, printed = tmp_path_factory.mktemp("penalized"), []
    given = {
        **CONFIG,
        "attacks": {"lag": LAGRANGIAN, "pgd": pgd()},
        "checks": "full",
        "pictures": 2,
    }
    content = evaluation.evaluate(
        MODEL, source(), given, folder, progress=Quiet, show=printed.append
    )
    return folder, content, "\n".join(map(str, printed))


def test_success_is_misclassification(found):
    folder, content, _ = found
    table = evaluation.table.load(folder / "table.npz")
    success, size = table.attack("lag", "success"), table.attack("lag", "size")
    assert table.attack("lag", "feasible").all()
    np.testing.assert_array_equal(success, table.attack("lag", "margin") >= 0)
    assert (
        0.2 < success.mean() < 1.01 and np.all(np.isfinite(size)) and size.max() > 0.3
    )
    assert content["attacks"]["lag"]["accuracy"] == pytest.approx(1 - success.mean())
    predicted = table.attack("lag", "prediction")
    assert np.all((predicted != LABELS) | ~success)


def test_tables_sentence_and_page_say_penalized(found):
    folder, content, printed = found
    line = next(row for row in printed.splitlines() if row.startswith("lag "))
    assert line.split()[1] == "penalized"
    assert "linf (eps 0.05)" in headline.sentence(content)
    assert "unbounded (penalized)" in headline.sentence(content)
    alone = {**content, "attacks": {"lag": content["attacks"]["lag"]}}
    assert "under unbounded, penalized, n = 30" in headline.sentence(alone)
    assert any("`unbounded`, penalized (`lag`)" in row for row in judged.lines(content))
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text("utf-8")
        assert "penalized" in text and "eps inf" not in text and "eps penal" not in text
    json.loads((folder / "report.json").read_text("utf-8"))
    assert cells.budget(float("inf"), "unbounded") == "penalized"
    assert (
        cells.bound(0.5, "l2") == "eps 0.5" and cells.budget(8 / 255, "linf") == "8/255"
    )


def test_the_checks_have_no_budget_to_double(found):
    _, content, _ = found
    curve = next(check for check in content["checks"] if check["id"] == "R8")
    assert "pgd" in curve["evidence"] and "lag" not in curve["evidence"]


def test_runs_with_it_are_compared(found, tmp_path):
    folder, *_ = found
    (row,) = compare.compare([folder], tmp_path)
    assert row["attacks"]["lag"]["eps"] == "inf"
    assert "lag penalized, pgd 0.05" in (tmp_path / "compare.md").read_text("utf-8")


def test_a_network_that_was_trained_so_is_described():
    training = {"attack": LAGRANGIAN | {"steps": 5, "threat": {"name": "unbounded"}}}
    words = judged._training({"defense": "adversarial", "training": training})
    assert "`lagrangian` of 5 steps in `unbounded`, penalized" in words


def test_attacks_made_in_python_are_described(tmp_path):
    attack = specs.build(LAGRANGIAN, ATTACKS, "attack")
    plan = configs.resolve({**CONFIG, "attacks": {"lag": attack}})
    assert plan.attacks[0].spec["threat"] == {"name": "unbounded", "measure": "l2"}
    assert plan.attacks[0].eps == np.inf
    pgd_there = Ascent(Unbounded(), step_size=0.1, steps=3)
    images, labels = nets.batch(2)
    got = craft(pgd_there, nets.linear(), jax.random.key(0), images, labels)
    assert np.all(np.isfinite(got.size))


def test_a_curve_needs_a_budget():
    with pytest.raises(UsageError, match="curve.attack is penalized"):
        configs.resolve({**CONFIG, "curve": {"attack": LAGRANGIAN}})
