"""Distances of the returned images, and sizes that only a network can measure."""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import evaluation, specs, struct
from jaxadv.craft import Adversarial
from jaxadv.evaluation import metrics, table
from jaxadv.evaluation.judging import judge
from jaxadv.evaluation.metrics.moved import DISTANCES
from jaxadv.evaluation.run import bench, runner
from jaxadv.evaluation.suite import config as configs
from jaxadv.perceptual import NETWORKS, Lpips
from jaxadv.specs import UsageError
from jaxadv.threats import THREATS
from tests import nets
from tests.evaluation import test_evaluation as base

SMALL = nets.conv(seed=1)
MODEL = nets.conv(seed=3)
LABELS = np.array(nets.predicted(MODEL, base.IMAGES))
LABELS[base.WRONG] = (LABELS[base.WRONG] + 1) % nets.CLASSES
NOISE = {
    "name": "uniform_noise",
    "threat": {"name": "linf", "eps": 0.4},
    "steps": 1,
    "early_stop": True,
}
CONFIG = {
    "name": "tiny",
    "attacks": {
        "noise": NOISE,
        "little": {**NOISE, "threat": {"name": "linf", "eps": 0.3}},
    },
    "batch_size": 2,
    "pictures": 30,
    "distances": {
        "l2": "l2",
        "linf": {"name": "linf"},
        "own": {"name": "lpips"},
        "other": {"name": "lpips", "network": {"name": "small"}},
    },
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(NETWORKS, "small", lambda: SMALL)


run = functools.partial(base.run, model=MODEL, data=base.source(labels=LABELS))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "small", lambda: SMALL)
        return run(tmp_path_factory.mktemp("distances"), CONFIG)


def test_distances_are_those_of_the_returned_images(straight):
    found, shown = straight.table, straight.pictures["noise"]
    assert len(shown.ids) == 27
    rows = np.searchsorted(found.columns["id"], shown.ids)
    change = shown.adversarials.astype(float) - shown.images
    expected = {
        "l2": np.sqrt((change**2).sum((1, 2, 3))),
        "linf": np.abs(change).max((1, 2, 3)),
        "own": jax.vmap(Lpips(MODEL))(shown.images, shown.adversarials),
        "other": jax.vmap(Lpips(SMALL))(shown.images, shown.adversarials),
    }
    got = found.distances("noise")
    assert list(got) == list(CONFIG["distances"])
    for name, column in got.items():
        assert column.dtype == np.float32
        np.testing.assert_allclose(column[rows], expected[name], rtol=2e-5)
        assert (column[base.WRONG] == 0).all() and (column[rows] > 0).all()
    np.testing.assert_allclose(got["linf"], found.attack("noise", "size"), rtol=1e-6)
    assert np.abs(got["own"] - got["other"]).max() > 0.01


def test_distances_depend_on_no_other_image(straight, tmp_path, monkeypatch):
    some = np.array([3, 4, 8, 9, 21])
    monkeypatch.setattr(configs.Suite, "choose", lambda *_: some)
    part = run(tmp_path, CONFIG).table
    for name, column in straight.table.columns.items():
        np.testing.assert_array_equal(part.columns[name], column[some], err_msg=name)


def test_on_another_number_of_devices_distances_differ_by_rounding_alone(monkeypatch):
    rng = np.random.default_rng(0)
    others = np.clip(base.IMAGES + 0.1 * rng.normal(size=base.IMAGES.shape), 0, 1)
    rows = base.IMAGES, others.astype(np.float32), LABELS, np.arange(30)
    on_eight = judge.Judge(MODEL, 2).distances({"own": Lpips()}, *rows)["own"]
    device = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: device)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    on_one = judge.Judge(MODEL, 2).distances({"own": Lpips()}, *rows)["own"]
    np.testing.assert_allclose(on_eight, on_one, rtol=1e-6)


def test_report_has_mean_and_median_of_the_broken_images(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "Crafter", lambda: base.CRAFTER)  # already compiled
    lines = []
    content = evaluation.evaluate(
        MODEL,
        base.source(labels=LABELS),
        {**CONFIG, "pictures": 0},
        tmp_path,
        show=lines.append,
        progress=base.Quiet,
    )
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored == json.loads(json.dumps(content))
    found = table.load(tmp_path / "table.npz")
    assert list(found.metadata["distances"]) == list(CONFIG["distances"])
    page = (tmp_path / "report.md").read_text()
    for label in CONFIG["attacks"]:
        broken = metrics.clean_correct(found) & found.attack(label, "success")
        assert 2 <= broken.sum() == stored["attacks"][label]["broken"] < 27
        cells = [label, str(broken.sum())]
        for name in CONFIG["distances"]:
            values = found.attack(label, f"distance/{name}")[broken]
            part = stored["attacks"][label]["distances"][name]
            assert part["mean"] == pytest.approx(values.mean(), rel=1e-6)
            assert part["median"] == np.median(values)
            cells.append(f"{part['mean']:.4g} / {part['median']:.4g}")
        assert "| " + " | ".join(cells) + " |" in page
        assert any(
            row.split() == " ".join(cells).split() for row in lines[1].split("\n")
        )
    for name in ("distances.png", "overlap.png"):
        assert (tmp_path / name).is_file() and f"]({name})" in page


def test_without_broken_images_there_is_no_mean():
    middle = {"mean": None, "median": None}
    part = {"broken": 0, "distances": {"l2": middle}}
    (found,) = DISTANCES.sections({"attacks": {"a": part}})
    assert found.rows[1] == ("a", "0", "-")
    none = {"a": {**part, "distances": {}}}
    assert list(DISTANCES.sections({"attacks": none})) == []


@struct.dataclass
class Seen:
    """A threat that only a network can measure; its own `size` lies."""

    eps: float = specs.leaf(minimum=0.0)
    network: Any = specs.part(lambda: NETWORKS, None)
    weights: Any = specs.bound()

    def init(self, key, image):
        return jnp.zeros_like(image)

    def apply(self, params, image):
        return image + params

    def project(self, params, image):
        return params

    def size(self, params, image):
        return jnp.zeros(())

    def bind(self, model, image, label, key):
        network = model if self.network is None else self.network
        return self.replace(weights=network.variables["w"])

    def distance(self, image, other):
        return jnp.sqrt(jnp.sum((self.weights @ (other - image).reshape(-1)) ** 2))


def seen(eps, network=None):
    threat = {"name": "seen", "eps": eps, "network": network}
    return {"attacks": {"seen": {**NOISE, "threat": threat}}, "batch_size": 2}


def shifted(attack, model, key, images, labels, **_):
    """Adversarial images 0.01 away everywhere, and every claim that is wanted."""
    n = len(images)
    image = np.where(images < 0.5, images + 0.01, images - 0.01).astype(np.float32)
    claims = np.ones(n, bool), np.ones(n), np.zeros(n), np.ones(n, np.int32)
    return Adversarial(image, *claims)


@pytest.mark.parametrize("network", [None, "linear"])
def test_sizes_of_threats_with_a_network_are_measured_again(
    tmp_path, monkeypatch, network
):
    monkeypatch.setitem(THREATS, "seen", Seen)
    monkeypatch.setitem(NETWORKS, "linear", lambda: nets.linear(seed=8))
    monkeypatch.setattr(bench, "craft_batches", shifted)
    outcome = base.run(tmp_path, seen(0.15, network))
    measured_in = base.MODEL if network is None else nets.linear(seed=8)
    change = shifted(0, 0, 0, base.IMAGES, 0).image - base.IMAGES.astype(float)
    moved = change.reshape(30, -1) @ np.asarray(measured_in.variables["w"], float).T
    expected = np.sqrt((moved**2).sum(1))
    expected[base.WRONG] = 0
    size = outcome.table.attack("seen", "size")
    np.testing.assert_allclose(size, expected, rtol=1e-4)
    feasible = outcome.table.attack("seen", "feasible")
    np.testing.assert_array_equal(feasible, expected <= 0.15)
    assert 5 < feasible.sum() < 25


@pytest.mark.parametrize("excess, feasible", [(5e-6, True), (3e-5, False)])
def test_rounding_of_a_network_is_allowed_for(tmp_path, monkeypatch, excess, feasible):
    @struct.dataclass
    class Constant(Seen):
        def distance(self, image, other):
            return jnp.float32(0.5)

    monkeypatch.setitem(THREATS, "seen", Constant)
    monkeypatch.setattr(bench, "craft_batches", shifted)
    outcome = base.run(tmp_path, seen(0.5 / (1 + excess)))
    assert outcome.table.attack("seen", "feasible")[0] == feasible


def test_weights_inside_a_threat_belong_to_the_journal(tmp_path, monkeypatch):
    monkeypatch.setitem(THREATS, "seen", Seen)
    resumed = []
    for seed in (8, 9, 8):
        monkeypatch.setitem(NETWORKS, "linear", lambda s=seed: nets.linear(seed=s))
        outcome = base.run(tmp_path, seen(50.0, "linear"))
        resumed.append(outcome.timings["seen"].resumed)
    assert resumed == [0, 0, 27]


@pytest.mark.parametrize(
    "change, match",
    [
        ({"distances": {"d": "lpip"}}, "config.distances.d.*'lpip'.*'lpips'"),
        ({"distances": {"d": 3}}, "config.distances.d is 3"),
        ({"distances": {"a/b": "l2"}}, "config.distances: label 'a/b'"),
        ({"distances": {"d": {"name": "l2", "x": 1}}}, "distances.d: unknown .*'x'"),
        ({"overlap": ("noise", "x")}, "config.overlap names 'x'; attacks: noise"),
    ],
)
def test_mistakes_name_the_field(change, match):
    with pytest.raises(UsageError, match=match) as error:
        configs.resolve({**CONFIG, **change})
    assert "\n" not in str(error.value)


def test_overlap_is_left_open_unless_told():
    attacks = {name: NOISE for name in "abcd"}
    assert configs.resolve({"attacks": attacks}).overlap is None
    chosen = {"attacks": attacks, "overlap": ("d", "a")}
    assert configs.resolve(chosen).overlap == ("d", "a")
    assert configs.resolve({**chosen, "overlap": ()}).overlap == ()
