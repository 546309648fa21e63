"""The pictures of a report are there, legible in size, and show what they say."""

import dataclasses
import types

import numpy as np
import pytest
from PIL import Image

from jaxadv.evaluation.judging.pictures import Pictures, mixed
from jaxadv.evaluation.report import drawing, plots
from jaxadv.evaluation.suite import config as configs

POINTS = [
    {"eps": e, "accuracy": a, "low": a - 0.05, "high": a + 0.05, "n": 100}
    for e, a in ((0.0, 0.9), (0.1, 0.6), (0.2, 0.2))
]


def pictures(count=3, channels=1, change=0.1):
    rng = np.random.default_rng(0)
    images = rng.uniform(0.2, 0.8, (count, 8, 8, channels)).astype(np.float32)
    moves = change * rng.choice([-1.0, 1.0], images.shape)
    return Pictures(
        ids=np.arange(count),
        labels=np.arange(count),
        images=images,
        adversarials=(images + moves).astype(np.float32),
        predictions=np.arange(count)[::-1],
        success=np.arange(count) != 1,
        feasible=np.ones(count, bool),
        sizes=np.full(count, change),
    )


def decoded(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def draw(path, points=POINTS, **fields):
    given = {"attack": "PGD-20", "threat": "linf", "dataset": "digits", "classes": 4}
    plots.curve(points, path, **{**given, **fields})
    return decoded(path)


def test_curve_is_a_picture_that_follows_its_points(tmp_path):
    image = draw(tmp_path / "new" / "a.png", eps=0.1)
    assert image.shape[0] > 500 and image.shape[1] > 800
    assert image.std() > 10
    lower = [dict(p, accuracy=p["accuracy"] / 2) for p in POINTS]
    assert np.any(draw(tmp_path / "b.png", lower, eps=0.1) != image)


@pytest.mark.parametrize("change", ["band", "chance", "eps", "threat"])
def test_curve_shows_band_chance_budget_and_unit(tmp_path, change):
    image = draw(tmp_path / "a.png")
    points, fields = POINTS, {}
    if change == "band":
        points = [dict(p, low=p["low"] - 0.1) for p in POINTS]
    elif change == "chance":
        fields = {"classes": 10}
    elif change == "eps":
        fields = {"eps": 0.1}
    else:
        fields = {"threat": "l2"}
    assert np.any(draw(tmp_path / "b.png", points, **fields) != image)


@pytest.fixture
def cells(monkeypatch):
    """The axes that `plots.grid` fills, row by row."""
    filled, original = [], plots.draw_image

    def recording(axes, image):
        filled.append(axes)
        original(axes, image)

    monkeypatch.setattr(plots, "draw_image", recording)
    return filled


def panel(image, axes, pixels=8):
    """What the picture shows at the centers of the 8 x 8 pixels of one cell."""
    height, width = image.shape[:2]
    box = axes.get_position()
    steps = (np.arange(pixels) + 0.5) / pixels
    rows = height * (1 - (box.y1 - steps * box.height))
    columns = width * (box.x0 + steps * box.width)
    return image[np.ix_(rows.astype(int), columns.astype(int))] / 255


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_shows_original_adversarial_and_difference(tmp_path, cells, channels):
    shown = pictures(channels=channels)
    plots.grid(shown, tmp_path / "g.png", title="pgd, linf eps 0.1")
    image = decoded(tmp_path / "g.png")
    assert len(cells) == 9
    assert plots.magnification(shown.adversarials - shown.images) == 5
    rows = (
        shown.images,
        shown.adversarials,
        0.5 + 5 * (shown.adversarials - shown.images),
    )
    for r, expected in enumerate(rows):
        for k in range(3):
            seen = panel(image, cells[3 * r + k])
            full = np.broadcast_to(expected[k].clip(0, 1), (8, 8, 3))
            assert np.abs(seen - full).max() < 0.01


def test_grid_captions_use_class_names(tmp_path):
    shown = pictures(1)
    plots.grid(shown, tmp_path / "a.png", title="b")
    plots.grid(shown, tmp_path / "b.png", title="b", class_names=["triangle"])
    a, b = decoded(tmp_path / "a.png"), decoded(tmp_path / "b.png")
    assert a.shape == b.shape and np.any(a != b)


@pytest.mark.parametrize(
    "largest, factor", [(0.5, 1), (0.3, 1.5), (8 / 255, 15), (0.15, 3), (0.0, 1)]
)
def test_magnification_is_the_largest_that_does_not_clip(largest, factor):
    assert plots.magnification(np.array([-largest, largest / 2])) == factor


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, in place of files."""
    kept = []
    monkeypatch.setattr(plots, "write", lambda figure, path: kept.append(figure))
    return kept


def test_grid_tells_which_images_broke(figures, cells):
    shown = dataclasses.replace(pictures(), feasible=np.array([True, True, False]))
    shown = dataclasses.replace(shown, success=np.array([True, False, False]))
    plots.grid(shown, "g.png", title="pgd: 1 of 3 images broken", factor=2)
    fates = [axes.get_title().splitlines()[-1] for axes in cells[3:6]]
    assert fates == ["broken", "withstood", "left the budget"]
    colors = {axes.spines["left"].get_edgecolor() for axes in cells[3:6]}
    assert len(colors) == 3
    assert cells[6].get_ylabel() == "difference × 2\nin all grids\ngray: no change"
    assert figures[0].get_suptitle() == "pgd: 1 of 3 images broken"


@pytest.mark.parametrize(
    "broken, left, count, shown",
    [
        (9, 9, 6, (3, 3)),
        (9, 9, 5, (3, 2)),
        (9, 1, 6, (5, 1)),
        (1, 9, 6, (1, 5)),
        (9, 0, 6, (6, 0)),
        (0, 9, 6, (0, 6)),
        (2, 1, 6, (2, 1)),
        (9, 9, 0, (0, 0)),
        (9, 9, 1, (1, 0)),
    ],
)
def test_half_of_what_is_shown_withstood(broken, left, count, shown):
    rng = np.random.RandomState(0)
    success = rng.permutation(np.arange(broken + left) < broken)
    labels = rng.randint(0, 3, broken + left)
    rows = mixed(success, labels, count)
    assert len(set(rows)) == len(rows) == sum(shown)
    assert success[rows].tolist() == [True] * shown[0] + [False] * shown[1]


def test_all_grids_share_one_magnification(figures, cells, monkeypatch):
    """That of the largest change of any attack."""
    few, many = pictures(change=0.02), pictures(change=0.1)
    empty = pictures(0)
    assert drawing.magnification({"a": few, "b": many, "c": empty}) == 5
    assert drawing.magnification({"c": empty}) == 1
    monkeypatch.setattr(drawing.metrics, "broken", lambda table, label: np.ones(4))
    monkeypatch.setattr(drawing.metrics, "attacked", lambda table, label: np.ones(7))
    attacks = {
        label: {"name": "fgsm", "threat": {"name": "linf", "eps": eps}}
        for label, eps in (("a", 4 / 255), ("b", 0.15))
    }
    plan = configs.resolve({"attacks": attacks})
    outcome = types.SimpleNamespace(pictures={"a": few, "b": many}, table=None)
    for planned in plan.attacks:
        drawing.grid(outcome, planned, plan, "g.png", None)
    told = [axes.get_ylabel() for axes in (cells[6], cells[15])]
    assert told == ["difference × 5\nin all grids\ngray: no change"] * 2
    assert [figure.get_suptitle() for figure in figures] == [
        "a, linf eps 4/255: 4 of 7 images broken",
        "b, linf eps 0.15: 4 of 7 images broken",
    ]
