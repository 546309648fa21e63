"""Tables and figures of perceptual training, of made reports."""

import sys

import numpy as np
import pytest

from benchmarks.papers.perceptual import figures, networks, numbers, tables
from configs.suites import bounds, narrow_shapes, projections
from jaxadv.evaluation.table import Table
from tests.benchmarks.test_dual import rows

NARROW = {"linf": 0.4, "l2": 0.5, "stadv": 0.6, "recolor": 0.7}
PERCEPTUAL = {"ppgd": 0.3, "lpa": 0.1}
LABELS = [f"{name}_{k}" for name in numbers.BOUNDS for k in (1, 2, 3)]


def report(suite):
    """Accuracies by label; a cascade's are among the unions."""
    found = {**NARROW, **PERCEPTUAL}
    if "bounds" in suite:
        found = {label: 0.8 - 0.2 * int(label[-1]) for label in LABELS}
    if "projections" in suite:
        found = dict.fromkeys(numbers.PROJECTIONS, 0.25)
    attacks = {k: {"accuracy": v, "eps": 0.5} for k, v in found.items()}
    unions = {k: {"accuracy": NARROW[k]} for k in ("linf", "l2")}
    return {
        "clean": {"accuracy": 0.8, "n": 20},
        "attacks": attacks,
        "unions": unions | {"narrow": {"accuracy": 0.35}},
    }


def table(broken=12):
    """Twenty images, of which each attack breaks those after the first ones, with
    distances that grow with the bound."""
    columns = {
        "id": np.arange(20),
        "label": np.zeros(20, np.int32),
        "clean/margin": -np.ones(20, np.float32),
    }
    for n, label in enumerate(LABELS):
        size = int(label[-1]) * (1 + n % 5)
        columns[f"attack/{label}/success"] = np.arange(20) >= 20 - broken
        for name, factor in (("l2", -1.0), ("lpips_learned", 2.0), ("lpips", 1.0)):
            moved = np.full(20, factor * size, np.float32)
            columns[f"attack/{label}/distance/{name}"] = moved
    return Table(columns, {"attacks": dict.fromkeys(LABELS, {})})


@pytest.fixture
def run(monkeypatch, tmp_path):
    asked = []

    def judged(method, seed, suite, args):
        asked.append((method, seed, suite))
        return report(suite), table()

    for module in (tables, figures):
        monkeypatch.setattr(module, "judged", judged)

    def call(module, *flags):
        monkeypatch.setattr(
            sys, "argv", ["", str(tmp_path), "--seeds", "0", "1", *flags]
        )
        module.main()
        return asked

    call.folder = tmp_path
    return call


def test_trainings_stand_beside_the_papers_rows(run, capsys):
    asked = run(tables, "--table=trainings")
    header, _, *found = rows(capsys.readouterr().out)
    assert header[1:] == list(numbers.COLUMNS["cifar10"])
    assert [row[0] for row in found] == [
        title for name, title in networks.TITLES.items() if name != "jpeg"
    ]
    assert {suite for *_, suite in asked} == {"narrow_shapes.py"}
    by_name = {row[0]: dict(zip(header, row, strict=True)) for row in found}
    linf = by_name["AT ℓ∞"]
    assert linf["unseen mean"] == "60.0 ± 0.0 (19.6)"  # of 50, 60 and 70 %
    assert linf["linf"] == "40.0 ± 0.0 (49.0)" and linf["union"] == "35.0 ± 0.0 (1.0)"
    assert by_name["normal"]["unseen mean"] == "55.0 ± 0.0 (0.1)"
    assert by_name["AT all, maximum"]["unseen mean"] == "-"


def test_bounds_are_of_the_network_trained_against_the_attack(run, capsys):
    asked = run(tables, "--table=bounds")
    header, _, *found = rows(capsys.readouterr().out)
    assert [row[0] for row in found] == list(numbers.BOUNDS)
    methods = [row[1] for row in found]
    assert methods[:2] == ["AT ℓ∞", "AT ℓ2"] and methods[2] == "PAT, self"  # no JPEG
    assert found[0][2:] == ["0.5", "25.0 ± 0.0 (30.4)", "0.5", "50.0 ± 0.0 (44.3)",
                            "0.5", "75.0 ± 0.0 (55.7)"]  # fmt: skip
    assert {suite for *_, suite in asked} == {"bounds.py:shapes"}


def test_projections(run, capsys):
    run(tables, "--table=projections", "--methods", "pat_self")
    header, _, *found = rows(capsys.readouterr().out)
    assert header[3:] == ["PAT, self", "paper, PAT"] and len(found) == 8
    assert found[0] == ["ppgd", "self", "bisection", "25.0 ± 0.0", "43.3"]


def test_a_table_without_a_suite_of_its_size_is_refused(run):
    with pytest.raises(SystemExit, match="shapes and imagenet100"):
        run(tables, "--table=bounds", "--data=cifar10")


@pytest.mark.parametrize("name", figures.FIGURES)
def test_figures_are_drawn(run, name, capsys):
    run(figures, f"--figure={name}")
    drawn = list((run.folder / "shapes" / "pictures").glob("*.png"))
    assert len(drawn) == (2 if name in ("overlap", "distances") else 1)
    if name == "correlation":  # l2 is made to fall, LPIPS to grow with what is seen
        told = capsys.readouterr().out
        assert "l2: pearson -1.000" in told and "lpips: pearson 1.000" in told
        assert "lpips_learned:" not in told


def test_numbers_have_a_cell_for_each_column():
    for data, rows_of in numbers.TRAININGS.items():
        assert {len(row) for row in rows_of.values()} == {len(numbers.COLUMNS[data])}
    for data, one in networks.DATA.items():
        assert set(one.rows) == set(numbers.TRAININGS[one.paper]), data


def test_suites_have_the_labels_that_the_tables_ask_for():
    assert set(bounds.get_config().attacks) == set(LABELS)
    assert set(projections.get_config().attacks) == set(numbers.PROJECTIONS)
    config = narrow_shapes.get_config()
    assert set(config.means) >= {"stadv", "recolor"}
    assert set(config.cascades) == {"linf", "l2"}
