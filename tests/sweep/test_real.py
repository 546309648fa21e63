"""One sweep as a user starts it: two seeds of the smallest training."""

import json
import os
import subprocess
import sys

import pytest

from jaxadv.evaluation import metrics, table
from tests.paths import ROOT

SUITE = """\
from configs.suites.base import ball, suite

def get_config():
    attacks = {"fgsm": {"name": "fgsm", "threat": ball()}}
    fields = {"examples": 20, "batch_size": 20, "pictures": 0, "checks": "none"}
    return suite("tiny", attacks, **fields)
"""


def test_two_seeds_become_a_row_and_are_not_trained_again(tmp_path):
    suite, root = tmp_path / "tiny.py", tmp_path / "runs"
    suite.write_text(SUITE)
    command = [
        *(sys.executable, "-m", "jaxadv", "sweep", "configs/demo.py"),
        *(f"--workdir={root}", "--seeds=0,1", f"--suite={suite}", "--cpu_devices=1"),
        *("--grid", "attack.threat.eps=8/255"),
        *("--config.model.name=mlp", "--config.data.examples=60"),
        *("--config.data.validation=12", "--config.batch_size=24"),
        *(
            "--config.epochs=1",
            "--config.attack.steps=1",
            "--config.validation.steps=1",
        ),
    ]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAXADV_DATA_DIR": str(tmp_path / "data"),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    def start():
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True
        )

    first = start()
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.count("finished: 1 epochs") == 2
    names = [f"attack.threat.eps=8_255,seed={seed}" for seed in (0, 1)]
    values = {}
    for seed, name in enumerate(names):
        found = table.load(root / name / "eval" / "tiny" / "table.npz")
        values[str(seed)] = float(metrics.robust(found, ["fgsm"]).mean())
    content = json.loads((root / "sweep.json").read_text())
    (row,) = content["rows"]
    assert row["attacks"]["fgsm"]["values"] == values
    assert row["attacks"]["fgsm"]["eps"] == pytest.approx(8 / 255)
    assert row["finished"] == {str(i): str(root / n) for i, n in enumerate(names)}
    again = start()
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished before") == 2
    assert "step" not in again.stdout and "2/2" in again.stdout
