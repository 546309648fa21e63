"""What tests of commands share: real processes, weights of a package."""

import os
import subprocess
import sys

import pytest

from jaxadv.weights import packages
from tests.paths import ROOT
from tests.trainings import finished
from tests.weights.layouts import state_of
from tests.weights.pickled import write_state

CONFIG = "configs/baselines/mnist5k_pgd_at.py"


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Of real processes: one folder of data, and one of compiled programs."""
    shared = tmp_path_factory.mktemp("shared")
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAXADV_DATA_DIR": str(shared / "data"),
        "JAX_COMPILATION_CACHE_DIR": str(shared / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


@pytest.fixture(scope="session")
def train(environment):
    """Starts train.py on a few digits and a small network, in a new process."""
    command = [
        sys.executable,
        "train.py",
        f"--config={CONFIG}",
        "--config.model.name=mlp",
        "--config.data.examples=120",
        "--config.data.validation=24",
        "--config.batch_size=8",
        "--config.epochs=3",
        "--config.attack.steps=1",
        "--config.validation.steps=2",
        "--config.checkpoint_steps=3",
        "--config.log_steps=3",
    ]

    def start(folder, *more, devices=2):
        return subprocess.Popen(
            [*command, f"--workdir={folder}", f"--cpu_devices={devices}", *more],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def whole(train, tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    status, output, error = finished(train(folder))
    assert status == 0, error
    assert "finished: 3 epochs" in output
    return folder


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """Weights of stlpips_alexnet alone, small ones, installed or not."""
    arch = "stlpips_alexnet"
    trunk = {k: v for k, v in state_of(arch).items() if k.startswith("net.")}
    write_state(tmp_path / f"{arch}.pth", trunk)
    monkeypatch.setenv("JAXADV_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr(packages.Packaged, "path", None)
