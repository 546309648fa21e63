"""The tables and figures of papers, at the smallest size that fills every cell."""

import dataclasses
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks.papers.generalized import figures as generalized_figures
from benchmarks.papers.generalized import numbers as generalized_tables
from benchmarks.papers.generalized import tables as generalized
from benchmarks.papers.minmax import figures as minmax_figures
from benchmarks.papers.minmax import headlines as minmax_headlines
from benchmarks.papers.minmax import numbers as minmax_tables
from benchmarks.papers.minmax import tables as minmax
from benchmarks.timing import interval
from jaxadv.threats import Linf
from tests import nets

PAIRS = minmax.DATA["mnist5k"].universal["mlp"]
NAMES = ("mlp", "all_cnn", "lenet", "lenet_v2")


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """`run(module, *flags)` on random perceptrons in place of trained networks."""

    def network(self, name):
        model = nets.linear((28, 28, 1), 10, NAMES.index(name))
        return jax.tree.map(lambda x: 0.1 * x, model)

    monkeypatch.setattr(minmax.Bench, "_network", network)

    def run(module, *flags):
        own = [str(tmp_path), "--seeds", "0", "1", *flags]
        monkeypatch.setattr(sys, "argv", ["", *own])
        module.main()

    return run


def rows(capsys):
    lines = capsys.readouterr().out.splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    header, _, *rest = table
    assert all(len(row) == len(header) for row in rest)
    return [dict(zip(header, row, strict=True)) for row in rest]


def test_table_2_has_a_line_for_each_size(bench, capsys, monkeypatch):
    paper = dataclasses.replace(minmax.DATA["mnist5k"], universal={"mlp": PAIRS[:1]})
    monkeypatch.setitem(minmax.DATA, "mnist5k", paper)
    monkeypatch.setattr(minmax, "SIZES", (2,))
    bench(minmax, "--table=2", "--examples=20", "--networks", "mlp")
    found = rows(capsys)
    assert [(r["network"], r["K"]) for r in found] == [("mlp", "2")]
    assert found[0]["paper min-max"] == "96.96" and "±" in found[0]["ASR_gp average"]


def test_tables_of_views_have_the_accuracy_under_each(bench, capsys):
    bench(minmax, "--table=A5", "--examples=6", "--networks", "mlp")
    average, free = rows(capsys)
    views = ["Identity", "FlipLeftRight", "FlipUpDown", "Brightness", "CropResize"]
    assert [name for name in average if name.startswith("Acc ")] == [
        f"Acc {view}" for view in views
    ]
    assert (average["paper"], free["paper"]) == ("55.97", "59.17")


def test_a_network_that_a_table_lacks_is_told(bench, capsys):
    with pytest.raises(SystemExit):
        bench(minmax, "--table=2", "--networks", "googlenet")
    assert "--networks: this one has mlp, all_cnn" in capsys.readouterr().err


def test_a_cell_is_kept_for_its_attack_and_weights_alone(bench, tmp_path):
    args = SimpleNamespace(
        runs=tmp_path, data="mnist5k", seeds=[0], keep="last", examples=6, networks=None
    )
    some = minmax.Bench(args)
    models = tuple(nets.linear((28, 28, 1), 10, seed) for seed in (1, 2))
    attack = minmax.attack_of(Linf(0.3), steps=3)
    first = some.rates("cell", attack, models)
    other = some.rates("cell", attack.replace(step_size=1e-6), models)
    turned = some.rates("cell", attack, models[::-1])
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first[:, :2], turned[:, 1::-1])
    kept = list((tmp_path / "mnist5k/attacks/last").glob("*.npz"))
    assert len(kept) == 3
    np.testing.assert_array_equal(some.rates("cell", attack, models), first)
    assert len(list(kept[0].parent.iterdir())) == 3


def test_static_weights_are_those_of_the_paper_and_those_of_these_networks(
    bench, capsys, monkeypatch, tmp_path
):
    paper = minmax.STATIC["linf"]
    monkeypatch.setattr(minmax, "STATIC", {"linf": paper})
    monkeypatch.setattr(minmax, "HEURISTICS", {})
    bench(minmax, "--table=A4", "--examples=6")
    lines = [
        line.strip("| ").split(" | ")
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("| linf")
    ]
    names = [line[1] for line in lines]
    static = [f"static, of {whose} networks" for whose in ("the paper's", "these")]
    assert names == ["average", *static, "clip", "min-max", *static]
    printed, own = (np.array(line[2:], float) for line in lines[-2:])
    np.testing.assert_allclose(printed, paper)
    assert (
        own.sum() == pytest.approx(1, abs=2e-3) and np.abs(own - printed).max() > 0.02
    )
    # They are where the search ends, and are found once.
    kept = sorted((tmp_path / "mnist5k/attacks/last").glob("1a_linf_weights_s*.npz"))
    settled = np.mean([np.load(path)["weights"] for path in kept], axis=0)
    np.testing.assert_allclose(own, settled, atol=1e-3)
    assert len(kept) == 2


@pytest.mark.parametrize("data", ["digits", "cifar10"])
def test_headlines_of_the_paper_follow_from_its_tables(data):
    def rates(name, attack, model, size=None):
        return np.array([[0.0, 60.0 if "min-max" in name else 50.0, 0.0]])

    some = SimpleNamespace(
        paper=minmax_tables.CIFAR if data == "cifar10" else minmax_tables.DIGITS,
        args=SimpleNamespace(networks=None, data=data),
        models=lambda names: dict.fromkeys(names),
        model=lambda name: None,
        rates=rates,
    )
    for tables, said in minmax_tables.HEADLINES[data].values():
        found = np.array([minmax_headlines.headline(some, which) for which in tables])
        ours, paper, count, of = found.T
        assert ours == pytest.approx(0.2) and list(count) == list(of)
        assert 100 * np.mean(paper) == pytest.approx(said, abs=0.01)
    # No lift over an average that breaks nothing.
    some.rates = lambda *_: np.zeros((1, 3))
    assert minmax_headlines.headline(some, "2")[2] == 0


def test_headlines_are_printed(bench, capsys, monkeypatch):
    paper = dataclasses.replace(minmax.DATA["mnist5k"], universal={"mlp": PAIRS})
    monkeypatch.setitem(minmax.DATA, "mnist5k", paper)
    flags = ["--tasks", "universal", "--examples=20", "--networks", "mlp"]
    bench(minmax_headlines, *flags)
    (row,) = rows(capsys)
    assert row["of the paper's tables"] == "+41.13 %"
    assert row["in its text"] == "+42.63 %" and row["rows with a lift"].endswith(
        " of 1"
    )


def test_gains_of_s_stand_beside_those_of_the_paper(capsys):
    eps = generalized_tables.PAPER_EPS
    paper = generalized._paper_curves("mlp", eps)
    ours = {row: [0.5] * len(eps) for row in ("linf", "l2")} | {"min_max": [0.6] * 6}
    generalized.table_of_areas(eps, ours, paper)
    found = {row["training"]: row for row in rows(capsys)}
    assert found["min_max"]["over linf"] == found["min_max"]["over l2"] == "+20.00 %"
    assert found["min_max"]["paper: over linf"] == "+8.11 %"
    assert found["linf"]["over linf"] == "-" and found["l2"]["S"] == "0.5000"
    assert generalized._paper_curves("mlp", [0.5, 0.7]) == {}


PICTURES = {
    "1": {"figure_1_average", "figure_1_min-max", "figure_1_weights"},
    "A9": {"table_A9", "table_A10"},
}


@pytest.mark.parametrize("figure", PICTURES)
def test_figures_are_drawn(bench, tmp_path, monkeypatch, figure):
    monkeypatch.setattr(minmax_figures, "ITERATIONS", (1, 3))
    monkeypatch.setattr(minmax.Bench, "predictions", lambda self, _: self.labels)
    monkeypatch.setattr(
        minmax_figures, "CarliniWagner",
        lambda ball, **_: minmax_figures.Ascent(ball, steps=2, rel_step_size=0.5),
    )  # fmt: skip
    bench(
        minmax_figures, f"--figure={figure}", "--examples=150", "--networks", "mlp",
    )  # fmt: skip
    names = {p.stem for p in (tmp_path / "mnist5k/pictures").glob("*.png")}
    assert names == PICTURES[figure]


def test_generalized_training_has_tables_and_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generalized, "PASSES", 1)
    monkeypatch.setattr(generalized_figures, "SETTLED", 2)
    whole = generalized.test_images
    few = lambda args: tuple(x[:125] for x in whole(args))  # noqa: E731
    for module in (generalized, generalized_figures):
        monkeypatch.setattr(module, "test_images", few)
    flags = ["--models", "mlp", "--epochs=1", f"--folder={tmp_path}", "--eps", "1"]
    flags += ["--trainings", "min_max"]
    monkeypatch.setattr(sys, "argv", ["", *flags])
    generalized.main()
    out = capsys.readouterr().out
    assert "125 test images" in out and "| min_max |" in out
    generalized_figures.main()
    args = generalized.arguments("").parse_args(flags)
    names, found = generalized_figures.weights_found(args, "mlp", "min_max", 1.0, 0)
    # An l2 ball of 1 is the weaker one, which gets less weight.
    assert (
        found[:, names.index("l2")].mean() < 0.5 < found[:, names.index("linf")].mean()
    )
    _only_runs_that_are_validated_alike_share_a_picture(monkeypatch, args, capsys)
    names = {p.stem for p in (tmp_path / "pictures").glob("*.png")}
    assert names == {
        "mlp_acc_max", "mlp_acc_avg", "mlp_epochs_1",
        "mlp_min_max_weights", "mlp_min_max_inside", "mlp_min_max_size_in",
    }  # fmt: skip


def _only_runs_that_are_validated_alike_share_a_picture(monkeypatch, args, capsys):
    """Those of one ball too, under both attacks; a run that knows its own is none."""
    asked, drawn = [], []
    real = generalized.loop.run

    def run(config, folder, *, validation=None):
        asked.append((config.attack.get("threat", {}).get("name"), validation))
        return real(config, folder, validation=validation)

    monkeypatch.setattr(generalized.loop, "run", run)
    monkeypatch.setattr(
        generalized_figures.domain_charts, "curves",
        lambda epochs, rates, path, **text: drawn.append((list(rates), text["title"])),
    )  # fmt: skip
    generalized.trained(args, "mlp", "linf", 1.0, 0)
    both = tuple(generalized.balls(1.0).values())
    assert asked == [("linf", both)] and len(both) == 2
    args.trainings, folder = ["min_max", "linf"], args.folder
    generalized_figures._epochs(args, "mlp", 1.0, generalized.Path(folder))
    (generalized.run_of(args, "mlp", "linf", 1.0, 0)[1] / "validation.txt").unlink()
    capsys.readouterr()
    generalized_figures._epochs(args, "mlp", 1.0, generalized.Path(folder))
    assert [names for names, _ in drawn] == [["min_max", "linf"], ["min_max"]]
    assert "linf 0.2 and l2 1 both" in drawn[0][1]
    assert "A4 leaves out linf" in capsys.readouterr().out


def test_intervals_are_those_of_one_seed():
    assert interval([0.5, 0.7], 100) == "60.0 ± 10.0 (50.2–69.1)"
    assert interval([0.0], 10) == "0.0 (0.0–27.8)"
