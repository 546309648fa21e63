"""Predicted masks beside a prepared set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.data import catalog, masks, prepare, sources
from jaxadv.perceptual import saliency
from jaxadv.perceptual.saliency import Saliency, SaliencyNet
from jaxadv.specs import UsageError
from jaxadv.training import masks as command
from tests.data.made import write_idx

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A small set of digits, and its folder."""
    root = tmp_path_factory.mktemp("masks")
    images = RNG.integers(0, 256, (12, 28, 28), np.uint8)
    labels = np.arange(12).astype(np.uint8) % 4
    write_idx(root / "from", images, labels)
    prepare.prepare("mnist", root / "data", root / "from")
    return root / "data"


def test_foreground_is_what_gets_more_than_its_share():
    density = np.log(np.array([[[0.4, 0.3], [0.2, 0.1]], [[0.97, 0.01], [0.01, 0.01]]]))
    found = masks.of_densities(density)[..., 0]
    assert found.tolist() == [[[1, 1], [0, 0]], [[1, 0], [0, 0]]]
    # Of any sum; and of another threshold, 1.4 / 4.
    np.testing.assert_array_equal(masks.of_densities(density - 7)[..., 0], found)
    assert masks.of_densities(density, 1.4)[0, ..., 0].tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("kind", ["network", "densities"])
def test_a_set_has_masks_from_then_on(prepared, tmp_path, kind):
    source = sources.load("mnist", "train", prepared)
    assert kind == "densities" or "mask" not in source.get([0])
    if kind == "network":
        net = SaliencyNet(width=2)
        network = Saliency(net.init(jax.random.key(1), jnp.zeros((1, 28, 28, 1))), net)
        path = tmp_path / "net.safetensors"
        saliency.save(path, network)
        image = source.get([3])["image"] / np.float32(255)
        density = np.asarray(network(jnp.asarray(image[0])))[None]
        given = {"network": str(path)}
    else:
        found = {
            split: RNG.normal(
                size=(len(sources.load("mnist", split, prepared)), 28, 28)
            )
            for split in ("train", "test")
        }
        path = tmp_path / "maps.npz"
        np.savez(path, **found)
        density = found["train"][3:4]
        given = {"densities": str(path)}
    lines = list(command.predict("mnist", prepared, **given))
    assert [line.split(":")[0] for line in lines] == ["train", "test"]
    again = sources.load("mnist", "train", prepared)
    rows = again.get([3, 0])
    np.testing.assert_array_equal(rows["mask"][:1], masks.of_densities(density))
    assert rows["mask"].dtype == np.uint8 and rows["mask"].shape == (2, 28, 28, 1)
    _, held_out = sources.split_train_validation(again, 4, 0)
    assert held_out.get([0])["mask"].shape == (1, 28, 28, 1)
    about = masks.known(catalog.find("mnist", prepared), "train")
    assert about["file"] == path.name and about["threshold"] == 1.0


def test_damaged_masks_are_told(prepared, tmp_path):
    path = tmp_path / "maps.npz"
    count = len(sources.load("mnist", "train", prepared))
    np.savez(path, train=RNG.normal(size=(count, 28, 28)))
    lines = list(command.predict("mnist", prepared, densities=str(path)))
    assert "has no densities" in lines[1]
    file = catalog.find("mnist", prepared) / "masks" / "train.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UsageError, match="train.npy is damaged; make the masks again"):
        sources.load("mnist", "train", prepared)
    file.with_suffix(".json").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        sources.load("mnist", "train", prepared)
    file.with_suffix(".json").unlink()
    assert "mask" not in sources.load("mnist", "train", prepared).get([0])


def test_what_does_not_fit_is_told(prepared, few_shapes, tmp_path, capsys):
    def words(*arguments, data_dir=prepared):
        assert command.main([*arguments, f"--data_dir={data_dir}"]) == 2
        return capsys.readouterr().err

    path = tmp_path / "maps.npz"
    np.savez(path, train=np.zeros((3, 28, 28)))
    assert "give one of --network and --densities" in words("mnist")
    assert "the images are (" in words("mnist", f"--densities={path}")
    assert "there is no file" in words("mnist", "--densities=none.npz")
    assert "is not prepared" in words("cifar10", f"--densities={path}")
    own = words("shapes", f"--densities={path}", data_dir=few_shapes)
    assert "shapes has masks of its own" in own
    path.write_bytes(b"x")
    assert "cannot be read" in words("mnist", f"--densities={path}")
