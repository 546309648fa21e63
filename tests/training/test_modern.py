"""Today's recipe in one run: mixed images, smoothed labels, a second set, AWP, EMA."""

import jax
import numpy as np
import pytest

from jaxadv import checkpoints
from jaxadv.data import sources
from jaxadv.specs import UsageError
from jaxadv.training import loop, settings
from tests.training.small import small_source


@pytest.fixture
def config(small_config, monkeypatch):
    """TRADES with all of it; the second set is called "npz:more"."""
    sets = {"npz:more": small_source(200, seed=7)}
    first = sources.load()
    monkeypatch.setattr(sources, "load", lambda name, *_, **__: sets.get(name, first))
    small_config.defense = {"name": "trades"}
    small_config.data.mix = {"name": "cutmix"}
    small_config.data.extra, small_config.data.extra_share = "npz:more", 0.5
    small_config.label_smoothing, small_config.ema_decay = 0.1, 0.9
    small_config.awp.gamma = 0.01
    small_config.epochs = 2
    return settings.complete(small_config)


def weights(folder):
    model = checkpoints.load_classifier(folder, "last")[0]
    return jax.device_get(model.variables)


def test_it_trains_and_goes_on_bit_for_bit(config, tmp_path):
    loop.run(config, tmp_path / "whole")
    config.epochs = 1
    loop.run(config, tmp_path / "parts")
    config.epochs = 2
    loop.run(config, tmp_path / "parts")
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_a_second_set_must_be_like_the_first(config, tmp_path, monkeypatch):
    odd = sources.from_arrays(np.zeros((9, 8, 8, 1), np.uint8), np.arange(9) % 3)
    both = {"npz:more": odd}
    first = sources.load("small")
    monkeypatch.setattr(sources, "load", lambda name, *_, **__: both.get(name, first))
    with pytest.raises(UsageError, match="config.data.extra is 'npz:more', whose ima"):
        loop.run(config, tmp_path)
    two = sources.from_arrays(np.zeros((9, 4, 4, 1), np.uint8), np.arange(9) % 2)
    both["npz:more"] = two
    with pytest.raises(UsageError, match="whose num_classes is 2"):
        loop.run(config, tmp_path)


def test_defenses_that_remember_images_have_one_set(config):
    config.data.mix, config.label_smoothing, config.awp.gamma = {}, 0.0, None
    config.defense = {"name": "iaat"}
    with pytest.raises(UsageError, match="config.data.extra is given, but Iaat"):
        settings.plan(settings.complete(config))
    config.defense = {"name": "universal"}
    assert settings.plan(settings.complete(config))
