"""Success rates over domains by hand, budgets by bisection, and their pictures."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxadv.attacks import Fgsm
from jaxadv.evaluation.metrics import domains
from jaxadv.evaluation.report import domain_charts, plots
from jaxadv.objectives import Margin
from jaxadv.objectives.domains import Images, Models, Transforms, Weighted
from jaxadv.objectives.transforms import FlipUpDown, Identity
from jaxadv.threats import Linf
from tests import nets

BROKEN = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 1]], bool)


def test_rates_by_hand():
    np.testing.assert_allclose(domains.accuracies(BROKEN), [0.25, 0.5, 0.0])
    assert domains.asr_all(BROKEN) == 0.5
    assert domains.asr_avg(BROKEN) == 0.75
    # table 1a's l0 row: 91.97 against 84.03 is a lift of 9.45 %
    assert round(100 * domains.lift(0.9197, 0.8403), 2) == 9.45
    assert np.isinf(domains.lift(0.5, 0.0))


LABELS = np.int32([0, 1, 2, 3, 0])
OF_KIND = {
    "models": (Models(), LABELS),
    "transforms": (Transforms((Identity(), FlipUpDown())), LABELS),
    "images": (Images(), np.stack([LABELS, LABELS[::-1]], axis=1)),
}


@pytest.mark.parametrize("kind", OF_KIND)
def test_who_is_broken_is_who_is_misclassified(kind):
    """Five examples, three at a time."""
    over, labels = OF_KIND[kind]
    models = nets.linear(seed=1), nets.linear(seed=2)
    images = nets.batch(10)[0].reshape(5, 2, *nets.SHAPE)
    images = images if kind == "images" else images[:, 0]
    model = models if kind == "models" else models[0]
    weighted, key = Weighted(over, Margin()), jax.random.key(0)
    found = domains.broken(weighted, model, key, images, labels, batch_size=3)
    seen = {
        "models": lambda: [nets.predicted(m, images) for m in models],
        "transforms": lambda: [
            nets.predicted(model, images),
            nets.predicted(model, images[:, ::-1]),
        ],
        "images": lambda: [nets.predicted(model, images[:, i]) for i in (0, 1)],
    }[kind]()
    want = np.stack(seen, axis=1) != labels.reshape(5, -1)
    assert 0 < want.sum() < want.size
    np.testing.assert_array_equal(found, want)


def test_an_output_that_is_no_number_is_misclassified():
    weighted, key = Weighted(Models(), Margin()), jax.random.key(0)
    found = domains.broken(weighted, nets.sick("nan"), key, nets.batch(5)[0], LABELS)
    assert found.all()


def test_the_smallest_budget_is_one_that_succeeds():
    limits = np.array([0.0, 0.31, 0.5, 0.9, 2.0])
    high = np.ones(5)
    found = domains.smallest(lambda eps: eps >= limits, high, halvings=12)
    assert np.isinf(found[-1])
    assert np.all((found >= limits)[:-1] & (found <= limits + 2.0**-12)[:-1])


def test_the_smallest_eps_of_a_linear_model_is_its_distance():
    model = nets.linear(classes=2)
    images = np.clip(nets.batch(6)[0], 0.4, 0.6)
    labels = nets.predicted(model, images)
    w = np.diff(np.asarray(model.variables["w"]), axis=0)[0]
    gap = np.diff([np.asarray(model(x)) for x in images], axis=1)[:, 0]
    attack = Fgsm(Linf(0.1), Margin())
    found = domains.smallest_eps(
        attack, model, jax.random.key(0), images, labels, 0.3, halvings=8, batch_size=1
    )
    np.testing.assert_allclose(found, np.abs(gap) / np.abs(w).sum(), atol=0.3 / 255)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The figures, kept open until the test has looked at them."""
    figures = []

    def keep(figure, path):
        plots.write(figure, tmp_path / path)
        figures.append(figure)

    monkeypatch.setattr(domain_charts, "write", keep)
    yield figures
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 300 and np.asarray(image.convert("L")).std() > 5


HISTORY = np.random.default_rng(0).dirichlet(np.ones(3), size=(40, 5))
NAMES = ["A", "B", "C"]


def test_boxes_are_the_quartiles_of_each_weight(drawn):
    domain_charts.weights(HISTORY, NAMES, "w.png", title="t", ticks=[0, 5, 10, 20, 50])
    (axes,) = drawn[0].axes
    boxes = axes.patches
    assert len(boxes) == 15
    low, high = np.percentile(HISTORY[:, 1, 0], [25, 75])
    edges = boxes[1].get_path().vertices[:, 1]
    np.testing.assert_allclose([edges.min(), edges.max()], [low, high])
    assert [t.get_text() for t in axes.get_xticklabels()] == [
        "0",
        "5",
        "10",
        "20",
        "50",
    ]
    shown = [t.get_text() for t in drawn[0].legends[0].get_texts()]
    assert shown == [*NAMES, "average case"]


@pytest.mark.parametrize("name", [r"$\frac$", "_hidden"])
def test_names_are_spelled_and_not_typeset(drawn, name):
    domain_charts.weights(
        HISTORY, [name] * 3, "w.png", title=name, ticks=[name] * 5, axis=name
    )
    domain_charts.curves([0.1], {name: [0.1]}, "r.png", axis=name, title=name)
    image, number = np.zeros((3, 3, 8, 8, 1), np.float32), np.ones((3, 3))
    domain_charts.image_robustness(image, {name: number}, "i.png", title=name)
    shown = [t.get_text() for t in drawn[0].legends[0].get_texts()]
    assert [t.strip().replace(r"\$", "$") for t in shown[:3]] == [name] * 3
    (only,) = drawn[1].axes[0].get_legend().get_texts()
    assert only.get_text().strip().replace(r"\$", "$") == name


def test_violins_show_the_median_also_of_equal_weights(drawn):
    history = HISTORY.copy()
    history[:, 0] = 1 / 3
    domain_charts.weights(history, NAMES, "w.png", title="t", kind="violin")
    (axes,) = drawn[0].axes
    middles = [c.get_segments()[0][0, 1] for c in axes.collections
               if type(c).__name__ == "LineCollection"]  # fmt: skip
    want = np.median(history, axis=0).T.ravel()
    np.testing.assert_allclose(middles, want, rtol=1e-6)


def test_success_rates_are_drawn_in_percent(drawn):
    rates = {"average": [0.1, 0.4], "min-max": [0.2, 0.8]}
    domain_charts.curves([0.1, 0.2], rates, "r.png", axis="eps", title="t")
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["min-max"], [20, 80])
    assert axes.get_xlabel() == "eps" and "%" in axes.get_ylabel()


def test_image_robustness_prints_every_number_and_marks_the_largest(drawn):
    images = np.random.default_rng(0).uniform(size=(2, 3, 8, 8, 1))
    columns = {
        "w linf": np.array([[0.1, 0.6, 0.3], [0.0, 0.0, 1.0]]),
        "C&W l2": np.array([[1.5, 2.25, 1.0], [0.5, 0.25, 3.125]]),
    }
    domain_charts.image_robustness(images, columns, "i.png", title="t")
    cells = [axes for axes in drawn[0].axes if not axes.images]
    assert len(cells) == 6 and len(drawn[0].axes) == 12
    texts = [[t.get_text() for t in axes.texts] for axes in cells]
    assert texts[0] == ["0.100", "w linf", "1.500", "C&W l2"]
    assert texts[1] == ["0.600", "2.250"] and texts[5] == ["1.000", "3.125"]
    bold = [[t.get_fontweight() == "bold" for t in axes.texts] for axes in cells]
    assert bold[1] == [True, True] and bold[5] == [True, True]
    assert not any(bold[0]) and not any(bold[2])
