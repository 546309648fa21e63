"""Suites: what reaches the table, and what it does not depend on."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxadv.craft import Adversarial, Crafter
from jaxadv.data import sources
from jaxadv.evaluation import metrics, table
from jaxadv.evaluation.judging import inputs, judge
from jaxadv.evaluation.run import bench, runner
from jaxadv.evaluation.suite import config as configs
from jaxadv.objectives import margin
from jaxadv.specs import UsageError
from tests import nets
from tests.paths import ROOT

MODEL = nets.linear(seed=3)
IMAGES, _ = nets.batch(30)
LABELS = np.array(nets.predicted(MODEL, IMAGES))
LABELS[[4, 11, 29]] = (LABELS[[4, 11, 29]] + 1) % nets.CLASSES  # wrong when clean
WRONG = [4, 11, 29]
NAMES = tuple("abcd")
CRAFTER = Crafter()


def source(images=IMAGES, labels=LABELS):
    return sources.from_arrays(
        images, labels, class_names=NAMES, name="digits", split="test"
    )


def pgd(norm="linf", eps=0.05, **fields):
    spec = {"name": "pgd", "threat": {"name": norm, "eps": eps}, "steps": 4}
    return {**spec, "rel_step_size": 0.4, "early_stop": True, **fields}


CONFIG = {
    "name": "tiny",
    "attacks": {"pgd": pgd(restarts=2), "noise": {**pgd(), "name": "uniform_noise"}},
    "batch_size": 2,
    "chunk_steps": 2,
}
del CONFIG["attacks"]["noise"]["rel_step_size"]


class Quiet:
    """A progress display that remembers the numbers of finished images."""

    def __init__(self, label, total, wrong=0):
        self.label, self.updates = label, []

    def update(self, done, broken):
        self.updates.append(done)

    def close(self):
        pass


def run(workdir, given=None, *, model=MODEL, data=None, progress=Quiet, crafter=None):
    plan = configs.resolve(given or CONFIG)
    crafter = crafter or CRAFTER
    data = data or source()
    return runner.run(model, plan, data, workdir, crafter=crafter, progress=progress)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    outcome = run(tmp_path_factory.mktemp("straight"))
    share = outcome.table.attack("pgd", "success").mean()
    assert 0.2 < share < 0.95  # otherwise nothing below could fail
    return outcome


def same(a, b):
    assert a.columns.keys() == b.columns.keys()
    for name in a.columns:
        np.testing.assert_array_equal(a.columns[name], b.columns[name], err_msg=name)
        assert a.columns[name].dtype == b.columns[name].dtype


def test_clean_wrong_images_are_broken_without_an_attack(straight):
    found = straight.table
    correct = metrics.clean_correct(found)
    assert np.flatnonzero(~correct).tolist() == WRONG
    for label in ("pgd", "noise"):
        assert found.attack(label, "success")[~correct].all()
        assert (found.attack(label, "size")[~correct] == 0).all()
        assert (found.attack(label, "steps")[~correct] == 0).all()
        assert (found.attack(label, "steps")[correct] > 0).all()


def test_success_is_what_the_network_says_of_a_feasible_image(straight):
    found = straight.table
    success, margin = found.attack("pgd", "success"), found.attack("pgd", "margin")
    np.testing.assert_array_equal(success, margin >= 0)
    assert found.attack("pgd", "feasible").all()
    assert found.attack("pgd", "size").max() <= 0.05 * (1 + 1e-6)
    broken = success & (margin > 0)
    predictions = found.attack("pgd", "prediction")
    assert (predictions[broken] != found.columns["label"][broken]).all()
    assert straight.unconfirmed == {"pgd": 0, "noise": 0}


def mean_margins(labels):
    """[30] margins of the linear network, and its logits."""
    logits = IMAGES.reshape(30, -1) @ MODEL.variables["w"].T + MODEL.variables["b"]
    logits = np.asarray(logits)
    own = logits[np.arange(30), labels]
    others = np.where(np.arange(4) == labels[:, None], -np.inf, logits).max(1)
    return others - own, logits


def test_clean_margins_and_predictions_agree_with_the_model(straight):
    margins, logits = mean_margins(LABELS)
    columns = straight.table.columns
    np.testing.assert_allclose(columns["clean/margin"], margins, atol=1e-4)
    np.testing.assert_array_equal(columns["clean/prediction"], logits.argmax(1))
    np.testing.assert_array_equal(columns["label"], LABELS)


class TestCascade:
    GIVEN = {
        **CONFIG,
        "attacks": {"small": pgd(restarts=2), "pgd": pgd(eps=0.08, restarts=2)},
        "cascades": {"both": ("small", "pgd")},
    }

    def test_each_attack_takes_what_the_others_left(self, tmp_path):
        found = run(tmp_path / "cascade", self.GIVEN).table
        alone = run(tmp_path / "alone", {**self.GIVEN, "cascades": {}}).table
        first = alone.attack("small", "success")
        second = alone.attack("pgd", "success")
        assert np.any(first[metrics.clean_correct(alone)]) and np.any(second & ~first)
        np.testing.assert_array_equal(found.attack("small", "success"), first)
        np.testing.assert_array_equal(found.attack("pgd", "success"), first | second)
        assert np.all(found.attack("pgd", "steps")[first] == 0)
        for field in ("size", "margin", "prediction", "feasible"):
            want = np.where(
                first, alone.attack("small", field), alone.attack("pgd", field)
            )
            np.testing.assert_array_equal(found.attack("pgd", field), want)

    def test_it_survives_a_kill(self, tmp_path):
        """The second attack's journal alone is lost."""
        whole = run(tmp_path, self.GIVEN).table
        for folder in (tmp_path / "journal" / "pgd").iterdir():
            for file in folder.iterdir():
                file.unlink()
        same(run(tmp_path, self.GIVEN).table, whole)

    def test_unknown_labels_are_named(self):
        with pytest.raises(UsageError, match="config.cascades.both names 'fab'"):
            configs.resolve({**self.GIVEN, "cascades": {"both": ("small", "fab")}})


def test_a_random_network_is_judged_by_its_mean_prediction():
    """Noise of 0.5 on the logits changes single predictions, not the mean one."""
    small = jax.tree.map(lambda x: 0.1 * x, MODEL.variables)
    noisy = nets.noisy().replace(variables=small)
    labels = nets.predicted(MODEL, IMAGES)
    sure = np.flatnonzero(mean_margins(labels)[0] < -2)
    wrong = []
    for draws in (1, 256):
        court = judge.Judge(noisy, 2, draws)
        rows = IMAGES[sure], labels[sure], sure
        found = court.verdict(jax.random.key(0), *rows)
        wrong.append(np.mean(found["prediction"] != labels[sure]))
    assert wrong[0] > 0 and wrong[1] == 0


def test_a_network_of_lower_precision_is_judged_in_float32():
    half = nets.half()
    exact = jax.vmap(half.full_precision())(IMAGES)
    court = judge.Judge(half, 2)
    found = court.verdict(jax.random.key(0), IMAGES, LABELS, np.arange(len(IMAGES)))
    want = jax.vmap(margin)(exact, LABELS)
    np.testing.assert_allclose(found["margin"], want, atol=1e-6)
    assert np.abs(jax.vmap(margin)(jax.vmap(half)(IMAGES), LABELS) - want).max() > 1e-4


@pytest.mark.parametrize("lie", ["not broken", "too far", "out of range", "none"])
def test_what_an_attack_claims_is_not_believed(tmp_path, monkeypatch, lie):
    def liar(attack, model, key, images, labels, **_):
        w = np.asarray(model.variables["w"])
        image = (w[(labels + 1) % 4] > w[labels]).astype(np.float32)
        image = image.reshape(images.shape)  # certainly broken
        if lie == "not broken":
            image = np.array(images)
        elif lie == "out of range":
            image[:, 0, 0] = 1.01
        n = len(images)
        claims = np.ones(n, bool), np.ones(n), np.zeros(n), np.ones(n, np.int32)
        return Adversarial(image, *claims)

    monkeypatch.setattr(bench, "craft_batches", liar)
    eps = 0.05 if lie == "too far" else 1.0
    outcome = run(tmp_path, {**CONFIG, "attacks": {"pgd": pgd(eps=eps)}})
    survive, told = metrics.robust(outcome.table, ["pgd"]).sum(), outcome.unconfirmed
    assert (survive, told["pgd"]) == ((0, 0) if lie == "none" else (27, 27))
    feasible = outcome.table.attack("pgd", "feasible").sum()
    assert feasible == (30 if lie in ("not broken", "none") else 3)


class _Interrupted(Exception):
    pass


def test_resume_repeats_nothing_and_gives_the_same_table(straight, tmp_path):
    done = []

    class Interrupting(Quiet):
        def update(self, count, broken):
            done.append(count)
            if sum(done) >= 12:
                raise _Interrupted

    with pytest.raises(_Interrupted):
        run(tmp_path, progress=Interrupting)
    made = []

    def watching(*args):
        made.append(Quiet(*args))
        return made[-1]

    resumed = run(tmp_path, progress=watching)
    same(resumed.table, straight.table)
    assert resumed.timings["pgd"].resumed == sum(done) < 27
    assert made[0].updates[0] == sum(done)
    assert sum(made[0].updates) == sum(made[1].updates) == 27
    again = run(tmp_path)
    same(again.table, straight.table)
    assert again.timings["pgd"].resumed == again.timings["noise"].resumed == 27
    for name, outcome in {"a": straight, "b": again}.items():
        table.save(outcome.table, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("change", ["weights", "eps", "seed", "image"])
def test_another_run_never_takes_over_rows(straight, tmp_path, change):
    run(tmp_path)
    given, model, images = CONFIG, MODEL, IMAGES
    if change == "weights":
        model = MODEL.replace(
            variables=jax.tree.map(lambda x: 1.01 * x, MODEL.variables)
        )
    elif change == "eps":
        given = {**CONFIG, "attacks": {"pgd": pgd(eps=0.06, restarts=2)}}
    elif change == "seed":
        given = {**CONFIG, "seed": 1}
    else:
        images = IMAGES.copy()
        images[0, 3, 3] = 0.9 - images[0, 3, 3] * 0.5
    outcome = run(tmp_path, given, model=model, data=source(images))
    assert outcome.timings["pgd"].resumed == 0


def test_order_and_batch_mates_do_not_matter(straight, tmp_path, monkeypatch):
    shuffled = np.random.default_rng(0).permutation(30)
    monkeypatch.setattr(configs.Suite, "choose", lambda *_: shuffled)
    outcome = run(tmp_path / "order")
    assert outcome.table.columns["id"].tolist() == shuffled.tolist()
    same(table.merge([outcome.table]), straight.table)
    some = np.array([3, 4, 8, 9, 21])
    monkeypatch.setattr(configs.Suite, "choose", lambda *_: some)
    part = run(tmp_path / "some").table
    for name, column in straight.table.columns.items():
        np.testing.assert_array_equal(part.columns[name], column[some], err_msg=name)


def test_the_number_of_devices_does_not_matter(straight, tmp_path, monkeypatch):
    device = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: device)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    same(run(tmp_path, crafter=Crafter()).table, straight.table)


def test_a_smaller_choice_is_part_of_a_larger_one():
    plan = configs.resolve(CONFIG)
    small, large = plan.choose(100, 10), plan.choose(100, 40)
    assert len(small) == 10 and set(small) <= set(large)
    assert plan.choose(7, None).tolist() == plan.choose(7, 0).tolist() == list(range(7))
    with pytest.raises(UsageError, match="config.examples is 101.*has 100"):
        plan.choose(100, 101)


CURVE = {"attack": pgd(), "eps": (0.02, 0.05, 0.1, 0.2, 0.4), "examples": 21}


@pytest.fixture(scope="module")
def curved(tmp_path_factory):
    given = {**CONFIG, "attacks": {"pgd": pgd()}, "curve": CURVE, "seed": 5}
    return run(tmp_path_factory.mktemp("curved"), given, crafter=Crafter())


def test_attack_and_curve_of_five_eps_are_one_compilation(curved):
    assert curved.timings["pgd"].programs == 3  # start, advance and harvest
    assert curved.timings["curve"].programs == 0


def test_curve_agrees_with_the_attack_at_each_eps(curved):
    found = curved.table
    smallest = found.columns["curve/pgd_linf/eps"]
    looked = ~np.isnan(smallest)
    assert looked.sum() == 21
    wrong = ~metrics.clean_correct(found)
    assert (smallest[looked & wrong] == 0).all()
    values = {*np.float32(CURVE["eps"]), np.inf}
    assert len(set(smallest[looked & ~wrong])) > 3
    assert set(smallest[looked & ~wrong]) <= values
    accuracies = [p["accuracy"] for p in metrics.curve(found, "pgd_linf")]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > accuracies[2] > accuracies[-1] == 0


def test_curve_values_follow_the_eps_of_the_suite():
    spec = {**pgd(), "threat": {"name": "linf", "eps": None}}
    given = {"attacks": {"pgd": spec}, "eps": 0.15, "curve": {"attack": spec}}
    plan = configs.resolve(given)
    assert [p.eps for p in plan.curve] == pytest.approx(np.arange(1, 11) * 0.03)
    assert plan.curve[4].eps == 0.15


def test_accuracy_at_any_eps_is_read_off_an_attack_that_minimizes(tmp_path):
    """As that of the same attack inside each budget; a first success is no minimum."""
    ddn = {"name": "ddn", "steps": 20, "search": 5}
    boxes = {"free": False, "first": True}
    attacks = {
        label: {**ddn, "threat": {"name": "l2", "eps": 9.0}, "early_stop": stop}
        for label, stop in boxes.items()
    }
    found = run(tmp_path / "a", {**CONFIG, "attacks": attacks}).table
    assert list(found.metadata["curves"]) == ["free"]
    points = metrics.curve(found, "free")
    assert len(points) == 21 and points[0]["accuracy"] == 0.9
    assert points[-1]["accuracy"] == 0 and points[-1]["eps"] < 9
    for point in (points[3], points[10]):
        inside = {**ddn, "threat": {"name": "l2", "eps": point["eps"]}}
        again = run(tmp_path / "b", {**CONFIG, "attacks": {"ddn": inside}}).table
        accuracy = metrics.summarize(again)["attacks"]["ddn"]["accuracy"]
        assert accuracy == point["accuracy"]
    assert 0 < points[3]["accuracy"] < 0.9


def test_fingerprint_tells_weights_and_margins_apart():
    clean = {k: np.arange(3) for k in ("id", "label", "clean/margin")}
    prints = {
        inputs.fingerprint(nets.linear(seed=0), clean, "a"),
        inputs.fingerprint(nets.linear(seed=1), clean, "a"),
        inputs.fingerprint(nets.linear(seed=0), clean, "b"),
        inputs.fingerprint(nets.linear(seed=0), clean | {"id": np.ones(3)}, "a"),
    }
    assert len(prints) == 4
    assert inputs.fingerprint(nets.linear(seed=0), clean, "a") in prints


TWO = """
import sys, jax, numpy as np
jax.config.update("jax_num_cpu_devices", 2)
from jaxadv import parallel
port, rank, folder = sys.argv[1:]
parallel.initialize(True, "localhost:" + port, 2, int(rank))
from jaxadv.evaluation import evaluate
from tests.evaluation import test_evaluation as t
evaluate(t.MODEL, t.source(), t.CONFIG, folder, progress=t.Quiet)
"""


def test_two_processes_write_the_same_table_once(straight, tmp_path):
    with __import__("socket").socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, port, str(rank), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [worker.communicate(timeout=180) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    same(table.load(tmp_path / "table.npz"), straight.table)
    assert "page: " in outputs[0][0] and "page: " not in outputs[1][0]
