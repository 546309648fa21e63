"""Networks that stand in where the one that is named is not on the machine."""

import numpy as np
import pytest

from jaxadv import specs
from jaxadv.evaluation.tools import study
from jaxadv.perceptual import DISTANCES, NETWORKS, networks
from jaxadv.specs import UsageError, UsageWarning
from jaxadv.weights import packages
from tests import nets
from tests.perceptual.test_perceptual import SHAPE
from tests.weights.layouts import state_of
from tests.weights.pickled import write_state

SMALL = nets.conv(SHAPE)
OWN = {"name": "alexnet", "path": None, "otherwise": "small"}
RUN = {"name": "run", "path": "nowhere", "otherwise": "small"}


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """No weights, no packages of them, and a network that needs none."""
    monkeypatch.setenv("JAXADV_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr(packages.Packaged, "path", None)
    monkeypatch.setitem(NETWORKS, "small", lambda: SMALL)


@pytest.mark.parametrize(
    ("spec", "words"),
    [(OWN, "there are no weights of alexnet"), (RUN, "there is no run nowhere")],
)
def test_what_is_not_there_gives_way_and_says_so(spec, words):
    told = f"{words}: LPIPS is measured in small in its place"
    attack = {"name": "lpa", "threat": {"name": "lpips", "eps": 0.5, "network": spec}}
    with pytest.warns(UsageWarning, match=told):
        found, lines = networks.settle({"a": attack, "b": [{"name": "l2"}, 3, None]})
    assert found["a"]["threat"]["network"] == {"name": "small"}
    assert found["a"]["threat"]["eps"] == 0.5
    assert (found["b"], lines) == ([{"name": "l2"}, 3, None], (told,))
    with pytest.warns(UsageWarning, match=told):
        assert specs.build(spec, NETWORKS, "network") is SMALL


def test_what_is_there_stays(tmp_path):
    (tmp_path / "alexnet.pth").touch()
    (tmp_path / "run").mkdir()
    there = {**RUN, "path": str(tmp_path / "run")}
    for spec in (OWN, there, {**OWN, "otherwise": None}, {"name": "small"}):
        assert networks.settle(spec) == (spec, ())


def test_without_a_stand_in_the_own_network_is_asked_for():
    for spec in (OWN, RUN):
        spec = {**spec, "otherwise": "stlpips_alexnet"}
        assert networks.settle(spec) == (spec, ())
        with pytest.raises(UsageError, match="pip install stlpips_pytorch==0.0.2"):
            specs.build(spec, NETWORKS, "network")
    with pytest.raises(UsageError, match="otherwise: unknown name 'smal'.*'small'"):
        networks.settle({**OWN, "otherwise": "smal"})


def test_a_path_that_is_wrong_is_a_mistake(tmp_path):
    spec = {**OWN, "path": str(tmp_path / "none.pth")}
    assert networks.settle(spec) == (spec, ())
    with pytest.raises(UsageError, match="none.pth, the weights of alexnet, is no fi"):
        specs.build(spec, NETWORKS, "network")


def test_a_study_names_the_network_that_it_measures_in(tmp_path):
    assert study.default_distances()[-1] == "lpips_alexnet"
    (tmp_path / "stlpips_alexnet.pth").touch()
    with pytest.warns(UsageWarning, match="measured in stlpips_alexnet"):
        assert study.default_distances()[-1] == "lpips_stlpips_alexnet"


def test_networks_of_packages_are_named_like_others(tmp_path):
    arch = "stlpips_alexnet"
    trunk = {k: v for k, v in state_of(arch).items() if k.startswith("net.")}
    write_state(tmp_path / f"{arch}.pth", trunk)
    found = specs.build({"name": "lpips", "network": {"name": arch}}, DISTANCES, "d")
    assert found.network.apply.module.trunk
    assert found.network.mean == pytest.approx((0.485, 0.456, 0.406))


def test_a_network_without_training_is_the_same_each_time():
    networks.untrained.cache_clear()
    first = networks.untrained("cifar_alexnet", 1).variables["params"]["conv5"]
    networks.untrained.cache_clear()
    again = networks.untrained("cifar_alexnet", 1).variables["params"]["conv5"]
    other = networks.untrained("cifar_alexnet", 2).variables["params"]["conv5"]
    assert np.array_equal(first["kernel"], again["kernel"])
    assert not np.array_equal(first["kernel"], other["kernel"])
    name, distance = study.parse_distance("lpips_untrained=cifar_alexnet")
    assert (name, type(distance.network).__name__) == ("lpips_untrained", "Classifier")
    with pytest.raises(UsageError, match="network.arch: 'resnet18' .* alexnet"):
        networks.untrained("resnet18")
