"""Where people look: the foreground's share on clean and on returned images."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import evaluation
from jaxadv.data import sources
from jaxadv.evaluation import metrics
from jaxadv.evaluation.report import plots
from jaxadv.perceptual import saliency
from jaxadv.specs import UsageError
from tests.evaluation import test_evaluation as base
from tests.evaluation.test_plots import decoded, pictures

SHAPE = base.IMAGES.shape
MASK = np.random.default_rng(0).integers(0, 2, (*SHAPE[:3], 1))
NET = saliency.SaliencyNet(width=2)
NETWORK = saliency.Saliency(NET.init(jax.random.key(1), base.IMAGES[:1]), NET)
CONFIG = {**base.CONFIG, "saliency": {"name": "small"}, "pictures": 4}


def source(mask=MASK):
    rows = base.IMAGES, base.LABELS
    return sources.from_arrays(*rows, mask=mask, name="digits", split="test")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(saliency.SALIENCY, "small", lambda: NETWORK)


def run(workdir, given=CONFIG, data=None):
    return base.run(workdir, given, data=data)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(saliency.SALIENCY, "small", lambda: NETWORK)
        return run(tmp_path_factory.mktemp("looks"), data=source())


def shares(images, mask):
    """[n] by NumPy, in double precision, of the network's logits."""
    logits = NET.apply(NETWORK.variables, jnp.asarray(images) - 0.5)
    looks = np.exp(np.asarray(logits, np.float64))
    looks /= looks.sum((1, 2), keepdims=True)
    return (looks * mask[..., 0]).sum((1, 2))


def test_scores_are_those_of_clean_and_of_returned_images(straight):
    found = straight.table
    wanted = shares(base.IMAGES, MASK)
    np.testing.assert_allclose(found.columns["clean/foreground"], wanted, rtol=1e-5)
    shown = straight.pictures["pgd"]
    rows = np.searchsorted(found.columns["id"], shown.ids)
    wanted = shares(shown.adversarials, MASK[shown.ids])
    got = found.attack("pgd", "foreground")
    np.testing.assert_allclose(got[rows], wanted, rtol=1e-5)
    assert np.max(np.abs(got - found.columns["clean/foreground"])) > 3e-4
    # An image that no attack has touched has the clean one's.
    wrong = found.columns["clean/foreground"][base.WRONG]
    np.testing.assert_array_equal(got[base.WRONG], wrong)
    np.testing.assert_array_equal(shown.scores, got[rows])
    np.testing.assert_allclose(shown.looks.sum((1, 2)), 1, rtol=1e-5)


def test_the_metric_is_a_mean_over_correct_images(straight):
    found, told = straight.table, metrics.summarize(straight.table)["foreground"]
    correct = metrics.clean_correct(found)
    assert list(told) == ["pgd", "noise"]
    wanted = found.attack("pgd", "foreground")[correct].mean(dtype=np.float64)
    assert told["pgd"]["returned"] == pytest.approx(wanted, abs=1e-12)
    assert told["pgd"]["clean"] == told["noise"]["clean"]
    text = dataclasses.replace(found, columns=dict(found.columns))
    for name in [n for n in text.columns if n.endswith("foreground")]:
        del text.columns[name]
    assert "foreground" not in metrics.summarize(text)


def test_batches_change_no_score(straight, tmp_path):
    other = run(tmp_path, {**CONFIG, "batch_size": 7}, data=source())
    name = "clean/foreground"
    np.testing.assert_allclose(
        other.table.columns[name], straight.table.columns[name], rtol=1e-6
    )


def test_table_page_and_pictures_tell_of_it(tmp_path, capsys):
    evaluation.evaluate(base.MODEL, source(), CONFIG, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["foreground"]["pgd"]["clean"] > 0
    assert "foreground score" in capsys.readouterr().out
    assert "Where people are expected to look" in (tmp_path / "report.html").read_text()
    lines = (tmp_path / "foreground.csv").read_text().splitlines()
    assert lines[0] == "foreground score,clean images,returned images,change"
    assert len(lines) == 3


def test_the_grid_has_a_row_of_looks(tmp_path):
    shown = pictures(channels=3)
    looks = np.full(shown.images.shape[:3], 1e-3, np.float32)
    looks[:, 2, 3] = 0.9
    more = dataclasses.replace(
        shown, looks=looks, scores=np.full(3, 0.2), clean_scores=np.full(3, 0.7)
    )
    plots.grid(shown, tmp_path / "a.png", title="a")
    plots.grid(more, tmp_path / "b.png", title="a")
    without, with_looks = decoded(tmp_path / "a.png"), decoded(tmp_path / "b.png")
    assert with_looks.shape[0] > 1.2 * without.shape[0]
    red = (with_looks[..., 0] > 190) & (with_looks[..., 1] < 60)
    assert np.sum(red) > 3 * 20


@pytest.mark.parametrize(
    "given, data, message",
    [
        (CONFIG, source(None), "config.saliency: digits has no masks"),
        ({**CONFIG, "saliency": "smal"}, source(), "config.saliency.*smal.*small"),
        (
            {**CONFIG, "saliency": {"name": "file", "path": "nowhere"}},
            source(),
            "there is no file 'nowhere'",
        ),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, given, data, message):
    with pytest.raises(UsageError, match=message):
        run(tmp_path, given, data=data)


def test_a_network_for_other_images_is_told(tmp_path, monkeypatch):
    variables = NET.init(jax.random.key(1), jnp.zeros((1, 8, 8, 5)))
    other = saliency.Saliency(variables, NET)
    monkeypatch.setitem(saliency.SALIENCY, "small", lambda: other)
    with pytest.raises(UsageError, match="does not fit images of"):
        run(tmp_path, data=source())


@pytest.mark.parametrize("checks", ["cheap", "full"])
def test_checks_hand_masks_to_attacks_that_want_them(tmp_path, checks):
    """A check that runs a search on its own gives it the masks of its images."""
    parts = {k: {"name": "linf", "eps": 0.05} for k in ("foreground", "background")}
    threat = {"name": "masked", "mask": "dataset", **parts}
    attacks = {"dual": {**base.pgd(), "threat": threat}}
    outcome = run(tmp_path, {**CONFIG, "attacks": attacks, "checks": checks}, source())
    found = {finding.id: finding.verdict for finding in outcome.findings}
    assert found["R3"] in ("ok", "warn")
    # Where the masks are all one side, the search is that of the other ball alone.
    zero = {"name": "linf", "eps": 0.0}
    still = {"dual": {**base.pgd(), "threat": {**threat, "foreground": zero}}}
    everywhere = source(np.ones_like(MASK))
    outcome = run(tmp_path / "b", {**CONFIG, "attacks": still}, everywhere)
    assert np.all(
        outcome.table.attack("dual", "size")[metrics.clean_correct(outcome.table)] == 0
    )
