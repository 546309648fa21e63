"""The comparing pictures draw the numbers that they are given."""

import numpy as np
import pytest
from PIL import Image

from jaxadv.evaluation.report import charts, plots


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The figures, kept open until the test has looked at them."""
    figures = []

    def keep(figure, path):
        plots.write(figure, tmp_path / path)
        figures.append(figure)

    monkeypatch.setattr(charts, "write", keep)
    yield figures
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 300 and np.asarray(image.convert("L")).std() > 5


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_violins_show_range_median_and_count_of_each_attack(drawn):
    a, b = np.linspace(1.0, 3.0, 21), np.array([4.0, 4.0, 4.0])
    values = {"l2": {"pgd": a, "fog": b}, "lpips": {"pgd": a / 10, "fog": a[:0]}}
    charts.violins(values, "v.png", title="title")
    (figure,) = drawn
    l2, lpips = figure.axes
    assert (l2.get_title(), lpips.get_title()) == ("l2", "lpips")
    names = [label.get_text() for label in lpips.get_xticklabels()]
    assert names == ["pgd\nn = 21", "fog\nn = 0"]
    body, *medians = l2.collections  # no violin of equal values, but their median
    ys = body.get_paths()[0].vertices[:, 1]
    assert (ys.min(), ys.max()) == (1.0, 3.0)
    heights = [m.get_segments()[0][0][1] for m in medians]
    assert heights == [2.0, 4.0]
    assert texts(lpips) == ["none"] and l2.get_ylim()[0] == 0


COUNTS = {"none": 30, "a + c": 40, "c": 20, "a + b + c": 10}


def test_overlap_bars_are_exact_shares_with_their_sets(drawn):
    charts.overlap(COUNTS, ("a", "b", "c"), "o.png", title="t")
    bars, matrix = drawn[0].axes
    assert [bar.get_height() for bar in bars.patches] == [40, 20, 10, 30]
    assert texts(bars) == ["40.0 %\n40", "20.0 %\n20", "10.0 %\n10", "30.0 %\n30"]
    assert bars.get_ylabel() == "% of 100 images"
    names = [label.get_text() for label in matrix.get_yticklabels()]
    assert names == ["a  50.0 %", "b  10.0 %", "c  70.0 %"]
    full = [line for line in matrix.lines if line.get_marker() == "o"][1::2]
    assert [line.get_xdata().tolist() for line in full] == [[0, 2], [2], [0, 1, 2]]
    assert matrix.get_xticklabels()[-1].get_text() == "none of\nthese"


def test_overlap_tells_of_the_sets_that_it_leaves_out(drawn):
    labels = [str(k) for k in range(20)]
    counts = {label: 20 - k for k, label in enumerate(labels)}
    charts.overlap(counts, labels, "o.png", title="t")
    assert drawn[0].axes[0].get_title() == "t; 4 rarer sets are left out"
    assert len(drawn[0].axes[0].patches) == 16


def share(value):
    return {"accuracy": value, "low": value - 0.1, "high": value + 0.05}


def test_tradeoff_draws_each_run_with_both_intervals(drawn):
    runs = [
        {"name": "normal", "clean": share(0.9), "union": share(0.1)},
        {"name": "robust", "clean": share(0.8), "union": share(0.4)},
    ]
    charts.tradeoff({"digits": runs, "photos": runs[:1]}, "t.png")
    first, second = drawn[0].axes
    assert (len(first.containers), len(second.containers)) == (2, 1)
    line, _, (across, up) = first.containers[1]
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (40, 80)
    np.testing.assert_allclose(across.get_segments()[0][:, 0], [30, 45])
    np.testing.assert_allclose(up.get_segments()[0][:, 1], [70, 85])
    legend = [t.get_text() for t in first.get_legend().get_texts()]
    assert legend == ["normal", "robust"]


def test_perceptibility_joins_the_bounds_of_an_attack(drawn):
    def group(kind, size, x, y):
        ends = {"low": y - 0.1, "high": y + 0.1}
        return {"type": kind, "size": size, "distance": x, "perceptibility": y, **ends}

    groups = [
        group("l2", "large", 3.0, 0.5),
        group("l2", "small", 1.0, 0.2),
        group("fog", "small", 2.0, 0.3),
    ]
    found = {"l2": {"pearson": 0.9, "spearman": None}}
    charts.perceptibility({"l2": groups}, found, "p.png")
    (axes,) = drawn[0].axes
    line = axes.containers[0][0]
    assert line.get_xdata().tolist() == [1, 3]
    np.testing.assert_allclose(line.get_ydata().astype(float), [20, 50])
    assert axes.get_title() == "l2: Pearson 0.90, Spearman undefined"
    assert texts(axes) == ["S", "L", "S"]


def test_correlation_sorts_and_keeps_undefined_last(drawn):
    found = {
        "bad": {"pearson": None, "spearman": None},
        "zero": {"pearson": 0.0, "spearman": 0.1},
        "minus": {"pearson": -0.5, "spearman": -0.4},
        "best": {"pearson": 0.9, "spearman": 0.8},
    }
    charts.correlation(found, "c.png")
    (axes,) = drawn[0].axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["best", "zero", "minus", "bad"]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == [0.9, 0.0, -0.5, 0.0, 0.8, 0.1, -0.4, 0.0]


def test_long_labels_leave_room_for_what_is_drawn(drawn):
    long = "a_label_that_somebody_made_very_long_indeed"
    charts.violins({"l2": {long: np.linspace(1, 3, 9)}}, "v.png", title="t")
    charts.overlap({long: 3, "none": 4}, (long,), "o.png", title="t")
    names = [drawn[0].axes[0].get_xticklabels(), drawn[1].axes[1].get_yticklabels()]
    for (label,) in names:
        lines = label.get_text().splitlines()
        assert len(lines) > 1 and max(map(len, lines[:-1])) <= 24
        assert long in "".join(lines)
