"""Tables and pictures of Lagrangian training, of made-up networks and arrays."""

import json

import numpy as np
import pytest

from benchmarks.papers.lagrangian import analyses, figures, measures, networks
from jaxadv.attacks import Ascent
from jaxadv.evaluation.table import Table, save
from jaxadv.specs import UsageError
from jaxadv.threats import L2
from tests import nets

# Attacks that another part of the project brings.


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_figures_are_drawn_from_arrays(tmp_path):
    rng = np.random.default_rng(0)
    found = {"flat": np.ones(20), "rising": rng.random(20), "Fast-LPA": rng.random(20)}
    figures.scatter(rng.random(20), found, tmp_path / "2.png", title="made up")
    images, deltas = rng.random((3, 8, 8, 3)), rng.normal(size=(2, 3, 8, 8, 3))
    given = {"penalty l2": deltas[0], "penalty LPIPS": 0.01 * deltas[1]}
    mask = rng.random((3, 8, 8, 1)) < 0.3
    figures.sheet(images, mask, given, tmp_path / "4.png", title="made up")
    figures.sheet(images, None, given, tmp_path / "4_without.png", title="made up")
    assert all(is_png(tmp_path / f"{name}.png") for name in ("2", "4", "4_without"))


def test_pictures_take_one_image_of_each_class_in_turn():
    labels = np.array([2, 2, 0, 0, 2, 1])
    assert list(figures.first_of_classes(labels, 4)) == [2, 5, 0, 3]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """RUNS of two methods with made-up networks; `call(module, *flags)`."""
    for name, seeds, matched in (("at_l2", 2, True), ("pat", 1, False)):
        chosen = [tmp_path / name / f"seed={seed}" for seed in range(seeds)]
        for folder in chosen:
            folder.mkdir(parents=True)
        note = {"folders": list(map(str, chosen)), "matched": matched}
        (tmp_path / name / "match.json").write_text(json.dumps(note))

    def load(folder, examples, which="best"):
        images, labels = nets.batch(examples, (8, 8, 3))
        seed = int(folder.name[-1])
        mask = np.zeros((examples, 8, 8, 1), np.uint8)
        mask[:, 2:5, 2:5] = 1
        data = networks.Images(images, labels, np.arange(examples), mask)
        return nets.linear((8, 8, 3), seed=seed), data

    def call(module, *flags):
        monkeypatch.setattr(module, "load", load)
        given = ["", str(tmp_path), "--examples=4", "--batch=4", *flags]
        monkeypatch.setattr("sys.argv", given)
        module.main()

    return call


def rows(capsys):
    lines = capsys.readouterr().out.splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    header, _, *rest = cells
    return [dict(zip(header, row, strict=True)) for row in rest]


def test_table_3_has_a_line_a_method(runs, capsys):
    runs(analyses, "--table=3", "--restarts=1", "--steps=10")
    mine, other = rows(capsys)
    assert mine["trained"] == "at_l2" and mine["paper: mean"] == "0.86"
    assert "±" in mine["mean"]
    assert other["trained"] == "pat *" and "±" not in other["mean"]


def test_table_4_has_both_budgets(runs, capsys, monkeypatch):
    monkeypatch.setattr(analyses, "PGD_STEPS", 2)
    monkeypatch.setattr(measures, "STEP_GRID", (0.5,))
    runs(analyses, "--table=4", "--methods", "at_l2")
    out = capsys.readouterr().out
    assert "| at_l2 | 4/255 |" in out and "| at_l2 | 8/255 |" in out
    assert "| 45.60 | 43.05 |" in out and "| at_l2 | 4/255 | mpgd |" in out


def test_tables_of_evaluations_say_what_these_have_found(runs, capsys, monkeypatch):
    points = [
        {"attack": f"{{}}_{i}", "eps": i, "accuracy": 0.5 - i / 10} for i in (1, 2, 3)
    ]
    asked = []

    def evaluated(folder, suite, name, flags, examples):
        asked.append((suite, name, flags))
        sweeps = {
            norm: {"points": [p | {"attack": p["attack"].format(norm)} for p in points]}
            for norm in ("l2", "linf")
        }
        found = {p["attack"]: p for s in sweeps.values() for p in s["points"]}
        unions = {"autoattack": {"accuracy": 0.2}}
        return {"sweeps": sweeps, "attacks": found, "unions": unions}, None

    monkeypatch.setattr(analyses, "evaluated", evaluated)
    runs(analyses, "--table=5", "--methods", "pat")
    out = capsys.readouterr().out
    assert "| trained | l2 1 | l2 2 | l2 3 | linf 1 | linf 2 | linf 3 |" in out
    assert "| pat * | 40.0 " in out and "| pat | 55.55 | 46.19 | 40.67 |" in out
    runs(analyses, "--table=6", "--methods", "pat")
    first, second = rows(capsys)
    assert first["norm"] == "linf" and first["gap"] == "10.0"
    assert first["AutoAttack"][:4] == "20.0" and first["PGD"][:4] == "30.0"
    assert second["paper: AutoAttack"] == "39.21"
    assert asked[-1][:2] == (
        "autoattack.py:standard,l2", "autoattack_standard_l2_2"
    )  # fmt: skip


def test_figures_of_networks_are_drawn(runs, tmp_path, capsys):
    for figure in ("5", "9"):
        runs(figures, f"--figure={figure}", "--points=3")
        assert is_png(tmp_path / "pictures" / f"figure_{figure}.png")
        lines = rows(capsys)
        assert [line["trained"] for line in lines] == ["at_l2", "pat *"]


def test_methods_are_found_where_they_were_moved_to(runs, tmp_path):
    moved = tmp_path / "pat" / "match.json"
    note = {"folders": ["runs/elsewhere/seed=0"], "matched": True}
    moved.write_text(json.dumps(note))
    (found,) = networks.methods(tmp_path, ["pat"])
    assert found.folders == [tmp_path / "pat" / "seed=0"] and found.title == "pat"
    with pytest.raises(UsageError, match="jaxadv match"):
        networks.methods(tmp_path, ["none"])


@pytest.fixture
def simple(monkeypatch):
    """PGD in the place of the four attacks of figure 2."""
    pgd = Ascent(L2(0.3), steps=2, rel_step_size=1.0, keep="last")
    names = ("PGD l2", "PGD linf", "lagrangian", "Fast-LPA")
    for module in (analyses, figures):
        monkeypatch.setattr(module, "attacks", lambda args: dict.fromkeys(names, pgd))


def test_figures_of_perturbations_are_drawn(runs, simple, tmp_path, capsys):
    runs(figures, "--figure=2", "--methods", "pat")
    (line,) = rows(capsys)
    assert set(line) == {"trained", "PGD l2", "PGD linf", "lagrangian", "Fast-LPA"}
    assert line["Fast-LPA"] == line["PGD l2"] and "(" in line["PGD l2"]
    runs(figures, "--figure=4", "--methods", "pat")
    for figure in ("2", "4"):
        assert is_png(tmp_path / "pictures" / f"figure_{figure}_pat.png")


def test_ratios_of_foreground_to_background_stand_beside_the_papers(
    runs, simple, capsys
):
    runs(analyses, "--table=f2b", "--methods", "at_l2")
    ours, other = rows(capsys)
    assert (ours["attack"], other["attack"]) == ("lagrangian", "Fast-LPA")
    assert (ours["paper"], other["paper"]) == ("1.69", "1.42")
    assert ours["F2B"] == other["F2B"] and "±" in ours["F2B"]
    assert ours["infinite"] == ours["undefined"] == "0"


def test_table_7_has_the_attacks_of_the_evaluation(runs, simple, capsys, monkeypatch):
    asked, columns = [], {
        "id": np.arange(2), "label": np.zeros(2, int), "clean/margin": -np.ones(2),
        "attack/blur/success": np.zeros(2, bool),
        "attack/blur/distance/l2": np.array([1.0, 2.0], np.float32),
    }  # fmt: skip
    metadata = {"attacks": {"blur": {"spec": {}, "eps": 1.0}}, "cascades": {}}

    def evaluated(folder, suite, name, flags, examples):
        asked.append((suite, name))
        return {}, Table(columns, metadata)

    monkeypatch.setattr(analyses, "evaluated", evaluated)
    runs(analyses, "--table=7", "--methods", "pat")
    ours, paper = rows(capsys)
    assert (ours["blur"], paper["blur"], paper["lagrangian"]) == (
        "1.50",
        "5.68",
        "1.31",
    )
    assert float(ours["lagrangian"]) == pytest.approx(0.3, abs=0.1)
    assert asked == [("unseen_shapes.py:no_alexnet", "unseen_shapes_no_alexnet")]
    runs(analyses, "--table=7", "--methods", "pat", "--alexnet=runs/a", "--suite=s")
    assert asked[1] == ("s.py", "s")


def test_the_four_attacks_go_on_where_an_image_is_broken():
    found = measures.training_attacks(l2=0.5, linf=0.02, lam=1.0, steps=4)
    assert list(found) == ["PGD l2", "PGD linf", "lagrangian", "Fast-LPA"]
    assert not any(getattr(attack, "early_stop", False) for attack in found.values())
    assert float(found["lagrangian"].lam) == 1 and found["lagrangian"].steps == 5


def test_evaluations_are_made_once_and_of_as_many_images_as_asked(
    tmp_path, monkeypatch
):
    asked = []

    def evaluate(command, check, stdout):
        asked.append(command)
        where = tmp_path / "eval" / "name"
        where.mkdir(parents=True)
        (where / "report.json").write_text(json.dumps({"clean": {"n": 7}}))
        save(Table({"id": np.arange(7)}, {}), where / "table.npz")

    monkeypatch.setattr(networks.subprocess, "run", evaluate)
    for _ in range(2):
        report, table = networks.evaluated(tmp_path, "s.py:budgets", "name", ["--a"], 7)
        assert report["clean"]["n"] == len(table) == 7
    (command,) = asked
    assert f"--workdir={tmp_path}/eval/name" in command
    assert command[1:3] == ["eval.py", "--config=configs/suites/s.py:budgets"]
    with pytest.raises(UsageError, match="of 7 images, not 8"):
        networks.evaluated(tmp_path, "s.py:budgets", "name", [], 8)
