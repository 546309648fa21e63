"""Weights that installed packages bring, read without importing them."""

import numpy as np
import pytest

from jaxadv import weights
from jaxadv.weights import packages
from tests.weights.layouts import state_of
from tests.weights.pickled import fails, write_state

ARCH = "stlpips_alexnet"
INSTALL = r"pip install stlpips_pytorch==0\.0\.2"
# As the package has it: of images in [-1, 1].
SCALING = {
    "scaling_layer.shift": np.float32([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1),
    "scaling_layer.scale": np.float32([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of weights, and no package of them."""
    monkeypatch.setenv("JAXADV_WEIGHTS_DIR", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(packages.Packaged, "path", None)
    return tmp_path


def install(folder, monkeypatch):
    """A package whose import fails, with small weights in its folder."""
    package = folder / "site" / "stlpips_pytorch"
    place = package / packages.NETWORKS[ARCH].file
    place.parent.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(package.parent)
    return write_state(place, {**SCALING, **trunk()})


def trunk():
    state = state_of(ARCH)
    found = {k: v for k, v in state.items() if not k.startswith("classifier")}
    return {k: np.abs(v) if k.startswith("lin") else v for k, v in found.items()}


def test_a_network_is_found_in_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXADV_WEIGHTS_DIR", str(tmp_path))
    place = install(tmp_path, monkeypatch)
    assert weights.find(ARCH) == place
    found = weights.load(place, ARCH, trunk=True)
    np.testing.assert_allclose(found.mean, (0.485, 0.456, 0.406), atol=1e-7)
    np.testing.assert_allclose(found.std, (0.229, 0.224, 0.225), atol=1e-7)
    assert found.module.trunk and found.module.width == 2
    for i, value in enumerate(weights.lpips_linear(ARCH)):
        expected = trunk()[f"lin{i}.model.1.weight"].ravel()
        np.testing.assert_array_equal(value, expected, strict=True)
    # One's own file comes first.
    (tmp_path / f"{ARCH}.pth").touch()
    assert weights.find(ARCH) == tmp_path / f"{ARCH}.pth"


def test_a_folder_of_that_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "bare").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert packages.Packaged("bare", "w.pth", "").path is None
    assert packages.Packaged("nowhere_at_all", "w.pth", "").path is None


def test_what_to_type_where_a_package_is_missing(folder):
    message = fails(
        weights.find, ARCH, match=f"no weights of {ARCH}: {INSTALL}; or put"
    )
    assert str(folder / "weights" / f"{ARCH}.pth") in message
    fails(weights.lpips_linear, "stlpips_vgg16", match=INSTALL)


@pytest.mark.parametrize(
    ("net", "other"),
    [
        ("alexnet", "stlpips_alexnet"),
        ("cifar_alexnet", "stlpips_alexnet"),
        ("vgg16", "stlpips_vgg16"),
    ],
)
def test_missing_networks_of_distances_name_another_one(folder, net, other):
    fails(weights.find, net, match=f"'name': '{other}' \\({INSTALL}\\)")


def test_two_normalizations_are_refused(tmp_path):
    path = write_state(tmp_path / "x.pth", {**SCALING, **trunk()})
    told = (ARCH, True, "cifar10")
    fails(weights.load, path, *told, match="two normalizations are told")
    assert weights.load(path, ARCH, True, "imagenet")
