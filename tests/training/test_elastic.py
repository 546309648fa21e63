"""A run that is resumed on another number of devices."""

import functools

import jax
import numpy as np
import pytest

from jaxadv import checkpoints
from jaxadv.specs import UsageError
from jaxadv.training import changes, log, loop
from tests import processes

PMAP = jax.pmap
TOLERANCE = 1e-5  # of weights after three epochs of three steps; float32 has 6e-8


@pytest.fixture
def devices(monkeypatch):
    """Lets a run see the first few devices only."""

    def some(count):
        found = jax.devices()[:count]
        monkeypatch.setattr(jax, "local_devices", lambda *_, **__: found)
        for name in ("local_device_count", "device_count"):
            monkeypatch.setattr(jax, name, lambda *_: count)
        monkeypatch.setattr(jax, "pmap", functools.partial(PMAP, devices=found))

    return some


def trained(config, folder, epochs):
    config = config.copy_and_resolve_references()
    config.epochs = epochs
    loop.run(config, folder)


def weights(folder):
    return checkpoints.load_classifier(folder, "last")[0].variables


def test_two_then_one_then_four_devices(small_config, tmp_path, devices, capsys):
    small_config.model.norm = False
    devices(1)
    trained(small_config, tmp_path / "one", 3)
    for epochs, count in ((1, 2), (2, 1), (3, 4)):
        devices(count)
        trained(small_config, tmp_path / "several", epochs)
    output = capsys.readouterr().out
    for before, now in ((2, 1), (1, 4)):
        line = f"the run used {before} devices, now it is {now}: results may differ by"
        assert f"WARNING: {line} rounding\n" in output
    near(tmp_path)


PROCESS = """
import sys

import jax

jax.config.update("jax_num_cpu_devices", 1)
from jaxadv import parallel

address, number, count, folder, epochs = sys.argv[1:]
parallel.initialize(True, address, int(count), int(number))
from jaxadv.data import sources
from jaxadv.models import MODELS
from jaxadv.training import loop
from tests.training.small import Small, small_settings, small_source

sources.load = lambda *_: small_source(64)
MODELS["small"] = Small
config = small_settings()
config.model.norm, config.epochs = False, int(epochs)
loop.run(config, folder)
sys.exit(parallel.leave(0))
"""


def test_two_processes_then_one_then_four_devices(small_config, tmp_path, devices):
    """The one is this process; `benchmarks/elastic.py` goes on with four."""
    small_config.model.norm = False
    devices(1)
    trained(small_config, tmp_path / "one", 3)
    folder = tmp_path / "several"
    with processes.started(PROCESS, "2", str(folder), "1") as both:
        (status, output, error), (other, *_) = processes.ended(both, 120)
    assert (status, other) == (0, 0), error
    assert "batch 16 on 2 cpu devices of 2 processes" in output
    for epochs, count in ((2, 1), (3, 4)):
        devices(count)
        trained(small_config, folder, epochs)
    near(tmp_path)


def near(tmp_path):
    """Weights and metrics of `one` and `several` are equal up to rounding."""
    one, several = (weights(tmp_path / name) for name in ("one", "several"))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE),
        one, several,
    )  # fmt: skip
    for a, b in zip(
        log.timeless(tmp_path / "one"), log.timeless(tmp_path / "several"), strict=True
    ):
        assert a.keys() == b.keys()
        for name in a:
            if isinstance(a[name], float):
                np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-5)
            else:
                assert a[name] == b[name]


def test_what_is_normalized_together_is_told():
    stats = {"BatchNorm_0": {"mean": np.zeros(6)}}
    assert changes.moved(2, 4, 16, stats) == (
        "WARNING: the run used 2 devices, now it is 4: results may differ by "
        "rounding, "
        "and batch normalization takes the statistics of 4 images at a time in place "
        "of 8"
    )
    assert changes.moved(2, 4, 16, {}).endswith("by rounding")


def test_a_batch_that_does_not_divide_is_refused(small_config, tmp_path, devices):
    """Before anything is written or compiled."""
    devices(3)
    with pytest.raises(UsageError, match="is 16; .* the 3 cpu devices: .*=15 or 18$"):
        trained(small_config, tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()
    devices(2)
    trained(small_config, tmp_path / "run", 1)
    before = checkpoints.recorded(tmp_path / "run")
    devices(3)
    with pytest.raises(UsageError, match="is 16; .* the 3 cpu devices: .*=15 or 18$"):
        trained(small_config, tmp_path / "run", 2)
    assert checkpoints.recorded(tmp_path / "run") == before
