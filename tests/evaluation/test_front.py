"""One call from arrays to a verdict."""

import dataclasses
import json
import sys
import types

import numpy as np
import pytest
from ml_collections import ConfigDict

import jaxadv as ja
from jaxadv import evaluation
from jaxadv.data import sources
from jaxadv.evaluation import front, metrics, result, table
from jaxadv.evaluation.judging import stored
from jaxadv.evaluation.suite import described, shipped
from jaxadv.specs import UsageError
from tests import nets
from tests.evaluation.test_evaluation import CONFIG, IMAGES, LABELS, MODEL, Quiet
from tests.paths import ROOT

EPS = 0.03
PGD = ja.Ascent(ja.Linf(EPS), rel_step_size=0.4, steps=4)
DUAL = ja.Ascent(
    ja.threats.Masked(ja.Linf(0.0), ja.Linf(0.1), mask="dataset"),
    rel_step_size=0.5,
    steps=3,
)
SQUARE = {"name": "square", "threat": {"name": "linf", "eps": None}, "steps": 5}
QUIET = {"progress": False, "checks": "none"}


def call(suite, images=IMAGES, labels=LABELS, model=MODEL, **fields):
    return ja.evaluate(model, images, labels, suite, **{**QUIET, **fields})


@pytest.fixture(scope="module")
def found():
    return call({"pgd": PGD, "square": SQUARE}, eps=0.05)


def test_numbers_are_those_of_the_linear_network(found):
    """Between what no attack can leave and the clean accuracy."""
    w, b = (np.asarray(MODEL.variables[k], np.float64) for k in "wb")
    assert found.clean_accuracy == 0.9  # 27 of 30
    logits = IMAGES.reshape(30, -1).astype(np.float64) @ w.T + b
    rows = np.arange(30)
    own = logits[rows, LABELS][:, None]
    # The largest gain of each other class over the label within [0, 1] and eps.
    x = IMAGES.reshape(30, 1, -1)
    slope = w[None] - w[LABELS][:, None]
    step = np.where(slope > 0, np.minimum(0.05, 1 - x), -np.minimum(0.05, x))
    gain = logits - own + (slope * step).sum(-1)
    gain[rows, LABELS] = -np.inf
    least = np.mean(gain.max(1) < 0)  # no attack can leave fewer
    assert least <= found.accuracy < found.clean_accuracy
    assert found.accuracy == np.mean(metrics.robust(found.table, ["pgd", "square"]))


def test_images_are_those_that_the_table_speaks_of(found):
    images = found.adversarial
    assert list(images) == ["worst", "pgd", "square"]
    np.testing.assert_array_equal(found.images, IMAGES)
    for label, eps in (("pgd", EPS), ("square", 0.05)):
        predicted = nets.predicted(MODEL, images[label])
        np.testing.assert_array_equal(
            predicted, found.table.attack(label, "prediction")
        )
        assert np.abs(images[label] - IMAGES).max() <= eps * (1 + 1e-6)
    wrong = ~metrics.clean_correct(found.table)
    np.testing.assert_array_equal(images["worst"][wrong], IMAGES[wrong])


def test_worst_images_break_wherever_an_attack_does(found):
    images, labels = found.adversarial, found.table.columns["label"]
    broken = nets.predicted(MODEL, images["worst"]) != labels
    np.testing.assert_array_equal(
        broken, ~metrics.robust(found.table, ["pgd", "square"])
    )
    margins = np.stack([found.table.attack(k, "margin") for k in ("pgd", "square")])
    for i in np.flatnonzero(~broken):
        best = ("pgd", "square")[np.argmax(margins[:, i])]
        np.testing.assert_array_equal(images["worst"][i], images[best][i])


def test_a_success_outranks_a_larger_margin_that_left_the_ball(found):
    columns = dict(found.table.columns)
    columns["attack/pgd/success"] = np.ones(30, bool)
    columns["attack/square/success"] = np.zeros(30, bool)
    columns["attack/square/margin"] = np.full(30, 1e6, np.float32)
    other = dataclasses.replace(found, table=table.Table(columns, found.table.metadata))
    np.testing.assert_array_equal(other.adversarial["worst"], other.adversarial["pgd"])


def test_the_same_as_through_the_evaluation_of_a_source(tmp_path):
    suite = {**CONFIG, "examples": None, "split": "given", "checks": "none"}
    source = sources.from_arrays(IMAGES, LABELS, name="images", split="given")
    evaluation.evaluate(
        MODEL, source, suite, tmp_path / "a", show=lambda line: None, progress=Quiet
    )
    call(suite, batch_size=2).save(tmp_path / "b")
    tables = [(tmp_path / k / "table.npz").read_bytes() for k in "ab"]
    assert tables[0] == tables[1]
    names = [{p.name for p in (tmp_path / k).iterdir()} for k in "ab"]
    assert names[0] - {"journal"} == names[1]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "tempfile.tempdir", str(tmp_path)
    )  # nor hidden in a temporary folder
    call({"pgd": PGD})
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_with_a_folder_it_resumes_and_writes(tmp_path):
    first = call({"pgd": PGD}, folder=tmp_path)
    again = call({"pgd": PGD}, folder=tmp_path)
    assert again.report["attacks"]["pgd"]["resumed"] == 27
    np.testing.assert_array_equal(first.adversarial["pgd"], again.adversarial["pgd"])
    assert (tmp_path / "report.html").exists()
    with pytest.warns(UserWarning, match="another network, suite or images"):
        stronger = call({"pgd": PGD.replace(steps=5)}, folder=tmp_path)
    assert stronger.report["attacks"]["pgd"]["resumed"] == 0


def test_pictures_of_another_result_do_not_stay(tmp_path):
    call({"pgd": PGD}, folder=tmp_path)
    (tmp_path / "mine.png").touch()
    assert (tmp_path / "pictures_pgd.png").exists()
    with pytest.warns(UserWarning, match="is replaced"):
        call({"other": PGD}, folder=tmp_path)
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names >= {"mine.png", "pictures_other.png"}
    assert "pictures_pgd.png" not in names


def test_masks_reach_the_attacks_that_want_them():
    mask = np.random.default_rng(0).integers(0, 2, (*IMAGES.shape[:3], 1))
    own = call({"dual": DUAL}, features={"mask": mask}).adversarial["dual"]
    moved = np.abs(own - IMAGES).max(-1, keepdims=True)
    assert moved[mask == 1].max() == 0 and moved[mask == 0].max() > 0.05


def test_uint8_images_and_counts(found):
    images = np.asarray(np.rint(255 * IMAGES), np.uint8)
    got = call(PGD, images, examples=7, seed=1)
    assert len(got.table) == 7 and list(got.adversarial) == ["worst", "pgd"]
    rows = got.table.columns["id"]
    np.testing.assert_array_equal(got.images, images[rows] / np.float32(255))
    assert len(call(PGD, examples=1000).table) == 30  # as many as there are
    config = {"attacks": {"pgd": PGD}, "examples": 5}
    assert len(call(config).table) == len(call(ConfigDict(config)).table) == 5


def test_suites_by_name_by_path_and_their_norm():
    quick = shipped.load("quick")
    assert shipped.load(str(ROOT / "configs/suites/quick.py")) == quick
    assert "autoattack" in shipped.names() and "base" not in shipped.names()
    plan = front._config("autoattack", "l2", 0.5)
    assert {threat for _, threat in front._balls(plan)} == {"l2"}
    assert front._config("autoattack", None, 0.1)["eps"] == 0.1
    assert set(front._config("autoattack:square", None, 0.1)["attacks"]) == {"square"}
    assert front._config("quick", "linf", 0.1)["attacks"].keys() == {
        "fgsm_linf", "noise_linf", "pgd_linf",
    }  # fmt: skip


def test_a_folder_of_that_name_on_the_path_is_not_in_the_way(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("MINE = 1")
    for name in [n for n in sys.modules if n.partition(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    import configs

    assert configs.MINE == 1  # type: ignore
    assert shipped.load("quick").name == "quick"
    assert sys.modules["configs"] is configs
    assert "configs.suites" not in sys.modules


def test_autoattack_is_the_suite():
    options = {**QUIET, "examples": 3}
    got = ja.autoattack(MODEL, IMAGES, LABELS, eps=EPS, version="apgd_ce", **options)
    assert list(got.report["attacks"]) == ["apgd_ce"]
    assert got.report["attacks"]["apgd_ce"]["eps"] == EPS
    assert got.report["suite"] == "autoattack_apgd_ce_linf"


def test_an_ensemble_is_broken_where_all_its_networks_are():
    models = [MODEL, nets.linear(seed=4)]
    attack = ja.MinMax(ja.Linf(0.1), steps=4)
    got = call({"both": attack}, model=models)
    broken, labels = got.table.attack("both", "success"), got.table.columns["label"]
    each = [nets.predicted(m, got.adversarial["both"]) != labels for m in models]
    assert np.logical_or(*each).sum() > broken.sum() > 0
    np.testing.assert_array_equal(np.logical_and(*each), broken)


def test_a_description_names_parts_and_fields():
    attack = ja.Ascent(ja.L2(0.5), ja.Margin(kappa=2.0), step_size=0.1, steps=3)
    spec = described.spec(attack, "x")
    assert (spec["name"], spec["steps"], spec["threat"]["name"]) == ("pgd", 3, "l2")
    assert spec["objective"] == {"name": "margin", "kappa": 2.0}
    json.dumps(spec)


def test_notebooks_see_a_table_and_pictures(found, capsys):
    page = found._repr_html_()
    assert page.count("<table>") == 1 and page.count("data:image/png;base64,") == 1
    assert "square" in page and "worst case under " in page
    assert '<th style="text-align: right;">norm</th>' in page
    assert "overflow-x: auto" in page
    found.show()
    printed = capsys.readouterr().out
    assert "pgd" in printed and "accuracy %" in printed
    assert str(found) == repr(found) and "of 30 images" in str(found)


def test_show_in_a_notebook_displays_every_attack(found, monkeypatch):
    shown, kernel = [], types.SimpleNamespace(kernel=1)
    display = types.SimpleNamespace(HTML=str, display=shown.append)
    notebook = types.SimpleNamespace(get_ipython=lambda: kernel, display=display)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    found.show()
    (page,) = shown
    assert page.count("data:image/png;base64,") == 2 and page.count("<table>") == 1


def test_a_page_shows_hostile_labels_as_they_are(found):
    hostile = dataclasses.replace(
        found, report={**found.report, "suite": "<script>alert(1)</script>"}
    )
    assert "<script>" not in hostile._repr_html_()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_stored_images_are_judged_as_they_are_stored(tmp_path, dtype):
    clean = np.rint(255 * IMAGES).astype(np.uint8)
    got = call(
        {"pgd": PGD.replace(threat=ja.Linf(4.5 / 255)), "sq": SQUARE}, clean, eps=0.05
    )
    lines = []
    got.save_images(tmp_path / "a.npz", dtype, lines.append)
    with np.load(tmp_path / "a.npz") as file:
        kept = dict(file)
    np.testing.assert_array_equal(kept["id"], np.arange(30))
    assert {k for k in kept if k.endswith("image")} == {
        "worst/image", "pgd/image", "sq/image",
    }  # fmt: skip
    images = kept["pgd/image"]
    assert images.dtype == dtype
    if dtype == "float32":
        np.testing.assert_array_equal(images, got.adversarial["pgd"])
        return
    change = np.abs(images.astype(int) - clean.astype(int))
    assert change.max() == 4  # not 5, where rounding to the nearest goes
    again = images / np.float32(255)
    fooled = nets.predicted(MODEL, again) != kept["label"]
    np.testing.assert_array_equal(kept["pgd/fooled"], fooled)
    np.testing.assert_allclose(
        kept["pgd/size"], np.abs(again - got.images).max(axis=(1, 2, 3)), rtol=1e-6
    )
    count = np.sum(got.table.attack("pgd", "success") & fooled)
    assert lines[0].startswith(f"pgd as uint8: {count} of ")
    assert lines[0].endswith("0 of them leave the budget")


def test_levels_stay_on_the_clean_side():
    clean = np.array([100, 100, 100, 100, 0, 255], np.float32)
    moved = np.array([104.5, 95.5, 108.001, 100.4, 0, 254.2], np.float32)
    found = stored.levels(moved / 255, clean / 255)
    assert found.tolist() == [104, 96, 108, 100, 0, 255]


NO_THREAT = types.SimpleNamespace(
    init=0, step=0, finish=0, steps=1, threat=None, objective=None
)
BAD = {
    "labels are": {"labels": LABELS[:5]},
    "channels last": {"images": IMAGES[0]},
    r"values outside \[0, 1\]": {"images": 3 * IMAGES},
    "float64": {"images": IMAGES.astype(np.float64)},
    "eps is not given, and fgsm_linf needs it": {"suite": "quick"},
    "there is no 'quik' .did you mean 'quick'": {"suite": "quik", "eps": 0.1},
    "there is no 'base'": {"suite": "base", "eps": 0.1},
    "there is no '../suites/quick'": {"suite": "../suites/quick", "eps": 0.1},
    "norm is 'l2', but .* linf": {"suite": "quick", "norm": "l2", "eps": 0.1},
    "AutoAttack's norm is 'l7'": {"suite": "autoattack", "norm": "l7", "eps": 0.1},
    "every attack of this suite has its own": {"suite": PGD, "eps": 0.1},
    "suite is of type int": {"suite": 3},
    "labelled 'worst'": {"suite": {"worst": PGD}},
    "examples is 2.5": {"examples": 2.5},
    "give Classifier.from_linen": {"model": nets.ConvNet()},
    "model is of type dict": {"model": {}},
    "whose eps is one number": {"suite": NO_THREAT},
    "images have no mask .they have: none.": {"suite": DUAL},
    "features: mask is .* give zeros and ones": {"features": {"mask": IMAGES[:, :3]}},
    "features: mask is float32": {"features": {"mask": IMAGES}},
    "features.*'depth'.*mask": {"features": {"depth": IMAGES}},
    "missing .*'more'.*whatever its call needs": {"model": lambda x, key, more: x},
    "labels: the dtype.*give labels.astype": {"labels": LABELS.astype(np.float32)},
}


@pytest.mark.parametrize("match", BAD)
def test_mistakes_end_in_one_line(match):
    with pytest.raises(ja.UsageError, match=match) as error:
        call(**{"suite": PGD, **BAD[match]})
    assert "\n" not in str(error.value)


def test_images_that_were_not_kept_are_said_to_be_missing():
    got = call(PGD, keep_images=False)
    assert got.accuracy < 1
    with pytest.raises(ja.UsageError, match="keep_images=True"):
        _ = got.adversarial
    assert result.IMAGES == "adversarial.npz"


def test_eps_may_be_a_fraction_and_nothing_else():
    assert front._number("8/255") == 8 / 255 == front._number(8 / 255)
    for eps in ("much", True):
        with pytest.raises(UsageError, match="must be a number, as 8/255"):
            front._number(eps)
