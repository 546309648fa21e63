"""One's own data through both scripts: trained on, gone on with, judged."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxadv import commands
from jaxadv.evaluation import command
from jaxadv.evaluation.report import plots
from tests.paths import ROOT

CONFIG = "configs/baselines/mnist5k_clean.py"
SUITE = """
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config():
    return ConfigDict({
        "name": "tiny",
        "attacks": {"fgsm": {"name": "fgsm", "threat": {"name": "linf", "eps": 0.1}}},
        "data": {"name": placeholder(str), "image_size": placeholder(int)},
        "batch_size": 4,
        "pictures": 2,
        "checks": "none",
    })
"""


def arrays(n, seed=0):
    """Images [n, 4, 4, 3] that are bright in one row: the label."""
    labels = np.arange(n) % 3
    images = np.random.default_rng(seed).integers(0, 60, (n, 4, 4, 3), np.uint8)
    images[np.arange(n), labels] += 180
    return images, labels


def save(path, **more):
    images, labels = arrays(40)
    np.savez(path, images=images, labels=labels, **more)


def held_back(n=12):
    images, labels = arrays(n, seed=1)
    return {"test_images": images, "test_labels": labels}


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """Trains in a few steps; the exit status and both outputs."""
    monkeypatch.chdir(ROOT)

    def call(name, *flags, workdir="run"):
        status = commands.train(
            [
                "train.py",
                f"--config={CONFIG}",
                f"--workdir={tmp_path / workdir}",
                f"--config.data.name={name}",
                "--config.model.name=mlp",
                "--config.data.validation=8",
                "--config.batch_size=8",
                "--config.epochs=2",
                *flags,
            ]
        )
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def judge(tmp_path, capsys):
    """Evaluates the run; the exit status, both outputs and the report."""
    (tmp_path / "suite.py").write_text(SUITE)

    def call(*flags, workdir="run"):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        status = command.main(
            [
                "eval.py",
                f"--config={tmp_path / 'suite.py'}",
                f"--checkpoint={tmp_path / workdir}",
                f"--workdir={tmp_path / 'out'}",
                *flags,
            ]
        )
        file = tmp_path / "out" / "report.json"
        report = json.loads(file.read_text()) if file.exists() else None
        return status, *capsys.readouterr(), report

    return call


def test_a_run_is_judged_on_the_test_images_of_its_own_file(tmp_path, train, judge):
    file = tmp_path / "my säts.npz"
    save(file, **held_back(), names=["one", "two", "three"])
    status, out, error = train(f"npz:{file}")
    assert status == 0, error
    assert "32 images, 4 steps" in out and "NOTE" not in out
    status, out, error, report = judge()
    assert status == 0 and "WARNING" not in out, error
    assert (report["examples"], report["classes"]) == (12, 3)
    assert report["dataset"] == f"npz:{file}" and report["split"] == "test"


def test_a_run_is_judged_on_the_test_images_of_its_own_folder(
    tmp_path, train, judge, monkeypatch
):
    """The names of the folders are those of the classes."""
    for part, n in (("train", 40), ("val", 12)):
        for i, (image, label) in enumerate(zip(*arrays(n), strict=True)):
            place = tmp_path / "set" / part / ("kät", "dog", "a cow")[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{i}.png")
    status, out, error = train(f"folder:{tmp_path / 'set'}")
    assert status == 0 and "32 images" in out, error
    captions, told = [], plots._caption
    monkeypatch.setattr(
        plots, "_caption", lambda *args: captions.append(told(*args)) or captions[-1]
    )
    status, out, error, report = judge()
    assert status == 0 and "WARNING" not in out, error
    assert (report["examples"], report["classes"]) == (12, 3)
    assert any("kät" in c or "dog" in c or "a cow" in c for c in captions)
    status, _, error, _ = judge(f"--config.data.name=folder:{tmp_path / 'set' / 'val'}")
    assert status == 2 and "has no split 'test'" in error
    assert judge(f"--config.data.name=folder:{tmp_path / 'none'}")[0] == 2


def test_files_that_have_changed_are_told(tmp_path, train, judge):
    file = tmp_path / "set.npz"
    save(file, **held_back())
    assert train(f"npz:{file}")[0] == 0
    assert train(f"npz:{file}")[0] == 0  # the same bytes: finished
    save(file, **held_back(9))
    status, _, error = train(f"npz:{file}")
    assert status == 2 and error.count("\n") == 1
    assert "set.npz', whose files have changed since the run" in error
    status, out, _, report = judge()
    assert status == 0 and report["examples"] == 9
    assert f"WARNING: the files of npz:{file} have changed since" in out
    # Another name is another set, and no surprise.
    other = tmp_path / "other.npz"
    save(other, **held_back(6))
    status, out, error, report = judge(f"--config.data.name=npz:{other}")
    assert status == 0 and report["examples"] == 6 and "WARNING" not in out, error


def test_without_a_test_split_one_is_carved_or_told(tmp_path, train, judge):
    file = tmp_path / "set.npz"
    save(file)
    status, out, _ = train(f"npz:{file}")
    notes = [line for line in out.splitlines() if line.startswith("NOTE: ")]
    assert status == 0 and len(notes) == 1 and "has no test split: add" in notes[0]
    status, _, error, _ = judge()
    assert status == 2 and error.count("\n") == 1
    assert "has no split 'test'; it has 'train': add test_images" in error
    status, out, _ = train(f"npz:{file}", "--config.data.test=1/4", workdir="carved")
    assert status == 0 and "NOTE" not in out and "22 images" in out  # 40 - 10 - 8
    status, _, error, report = judge(workdir="carved")
    assert status == 0 and report["examples"] == 10, error


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ["--config.data.validation=50"],
            "config.data.validation is 50, but there are",
        ),
        (["--config.data.image_size=8"], "config.data.image_size is 8, but the images"),
        (["--config.data.test=0.2"], "config.data.test is 0.2, but npz:"),
        (["--config.data.test=0"], "config.data.test is 0.0; it must be"),
        (["--config.data.name=npz:no/such.npz"], "no/such.npz: No such file"),
        (["--config.data.name=hf:mnist"], "hf: is not read"),
        (["--config.normalize.mean=(0.1,0.2)"], "has 3 channels"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(tmp_path, train, flags, message):
    save(tmp_path / "set.npz", **held_back())
    status, _, error = train(f"npz:{tmp_path / 'set.npz'}", *flags)
    assert status == 2 and error.count("\n") == 1 and message in error
    assert not (tmp_path / "run").exists()


def test_a_run_from_before_goes_on(tmp_path, train):
    """Its config has not the fields that a set of one's own needs."""
    save(tmp_path / "set.npz", **held_back())
    assert train(f"npz:{tmp_path / 'set.npz'}")[0] == 0
    file = tmp_path / "run" / "config.json"
    fields = json.loads(file.read_text())
    del fields["data"]["image_size"], fields["data"]["test"]
    file.write_text(json.dumps(fields))
    status, out, error = train(f"npz:{tmp_path / 'set.npz'}")
    assert status == 0 and "is finished" in out, error
