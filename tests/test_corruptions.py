"""Errors under stored corruptions, against counts by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxadv.evaluation import command, corruptions
from jaxadv.evaluation.corrupted import open_folder
from jaxadv.specs import UsageError
from tests import nets

MODEL = nets.linear(seed=3)
COUNT = 40


class Source:
    """The clean test split; labels of eight images are wrong."""

    name, class_names = "made", tuple("abcd")

    def __init__(self):
        images, _ = nets.batch(COUNT)
        self.image = np.round(images * 255).astype(np.uint8)
        self.label = nets.predicted(MODEL, self.image / np.float32(255)).copy()
        self.label[:8] = (self.label[:8] + 1) % nets.CLASSES

    def __len__(self):
        return COUNT

    def get(self, ids):
        return {"image": self.image[ids] / np.float32(255), "label": self.label[ids]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """At severity s of `fog` the first 8 + 4 s images are those of other classes."""
    folder, source = tmp_path_factory.mktemp("made-c"), Source()
    fog = []
    for severity in range(5):
        images = source.image.copy()
        stop = 8 + 4 * severity
        for i in range(stop):
            other = np.flatnonzero(source.label[8:] != source.label[i])[0] + 8
            images[i] = source.image[other]
        fog.append(images)
    np.save(folder / "fog.npy", np.concatenate(fog))
    np.save(folder / "contrast.npy", np.concatenate([source.image] * 5))
    np.save(folder / "labels.npy", np.tile(source.label, 5))
    return folder


def measure(folder, **fields):
    stored = open_folder(folder, Source.class_names)
    return corruptions.measure(MODEL, Source(), stored, **fields)


def test_errors_are_counted_severity_by_severity(folder, monkeypatch):
    monkeypatch.setattr(corruptions, "_BLOCK", 15)
    found = measure(folder, batch_size=16)
    assert found["clean"] == 8 / COUNT
    assert list(found["errors"]) == ["fog", "contrast"]
    want = [(8 + 4 * s) / COUNT for s in range(5)]
    assert np.allclose(found["errors"]["fog"], want)
    assert np.allclose(found["errors"]["contrast"], 8 / COUNT)
    some = measure(folder, examples=10)
    picked = np.linspace(0, COUNT - 1, 10).astype(int)
    want = [np.mean(picked < 8 + 4 * s) for s in range(5)]
    assert np.allclose(some["errors"]["fog"], want)


def test_trees_of_folders_are_read_class_by_class(tmp_path):
    """`fog` is all black, and the names of files repeat in every class."""
    source = Source()
    present, labels = np.unique(source.label, return_inverse=True)
    names = [source.class_names[k] for k in present]
    for i, (image, label) in enumerate(zip(source.image, labels, strict=True)):
        for name, change in (("fog", 0), ("contrast", 1)):
            for severity in range(1, 6):
                wnid = tmp_path / name / str(severity) / names[label]
                file = wnid / f"{i:03d}.JPEG"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.repeat(image * np.uint8(change), 3, -1)
                Image.fromarray(pixels).save(file, format="png")  # nothing is lost
    stored = open_folder(tmp_path, names)
    assert stored.names == ["fog", "contrast"]
    order = np.argsort(labels, kind="stable")
    np.testing.assert_array_equal(stored.labels, labels[order])
    rows = np.arange(5, 25)
    np.testing.assert_array_equal(
        stored.read("contrast", 3, rows)[..., :1], source.image[order][rows]
    )
    assert not stored.read("fog", 1, rows).any()
    with pytest.raises(UsageError, match="1/zebra: there are no JPEG images"):
        open_folder(tmp_path, ("zebra",))
    (tmp_path / "fog" / "2" / names[0]).rename(tmp_path / "gone")
    with pytest.raises(UsageError, match="fetch the set again"):
        stored.read("fog", 2, np.arange(3))


def test_what_a_killed_run_has_measured_is_kept(folder, tmp_path, monkeypatch):
    kept = tmp_path / "kept.jsonl"
    whole = measure(folder, kept=kept)
    lines = kept.read_text().splitlines()
    assert len(lines) == 2
    kept.write_text(lines[0] + "\n" + lines[1][:20])
    assert measure(folder, kept=kept) == whole
    monkeypatch.setattr(corruptions.Arrays, "read", None)  # nothing left to read
    kept.write_text("\n".join(lines) + "\n")
    assert measure(folder, kept=kept) == whole
    with pytest.raises(TypeError):
        measure(folder, kept=kept, examples=10)  # other images


def test_scores_are_those_of_the_papers():
    ours = {"clean": 0.1, "errors": {"fog": [0.2] * 5, "frost": [0.1] * 5}}
    theirs = {"clean": 0.2, "errors": {"fog": [0.4] * 5, "frost": [0.6] * 5}}
    content = corruptions.summarize(ours, theirs)
    fog, frost = (content["corruptions"][name] for name in ("fog", "frost"))
    assert np.isclose(fog["ce"], 0.5) and np.isclose(frost["ce"], 1 / 6)
    assert np.isclose(fog["relative_ce"], 0.5) and np.isclose(frost["relative_ce"], 0)
    assert np.isclose(content["means"]["all"]["ce"], (1 / 2 + 1 / 6) / 2)
    assert np.isclose(content["means"]["weather"]["relative_ce"], 0.25)
    assert "noise" not in content["means"]
    assert "ce" not in corruptions.summarize(ours)["means"]["all"]
    theirs["errors"]["fog"] = [0.2] * 5  # nothing lost: no relative error
    content = corruptions.summarize(ours, theirs)
    assert content["corruptions"]["fog"]["relative_ce"] is None
    assert content["means"]["weather"]["relative_ce"] is None
    assert corruptions.table(content)[2][-1] == "-"


def test_the_tables_are_written(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        corruptions.checkpoints, "load_classifier", lambda *_: (MODEL, None, None)
    )
    config = {"corruptions": {"folder": str(folder), "reference": "run"}}
    lines = []
    corruptions.evaluate(
        MODEL, Source(), config, tmp_path, name="made", show=lines.append
    )
    assert "fog" in lines[0] and lines[1].endswith("corruptions.md")
    page = (tmp_path / "corruptions.md").read_text()
    assert "| fog | 20.00 | 30.00 | 40.00 | 50.00 | 60.00 | 40.00 | 100.00 |" in page
    stored = json.loads((tmp_path / "corruptions.json").read_text())
    assert stored["means"]["all"]["ce"] == 1.0
    assert (tmp_path / "corruptions.csv").read_text().startswith("corruption,1,2,3")


def test_mistakes_are_named(tmp_path, capsys):
    with pytest.raises(UsageError, match="there is neither labels.npy"):
        measure(tmp_path)
    np.save(tmp_path / "labels.npy", Source().label)
    with pytest.raises(UsageError, match="none of gaussian_noise"):
        measure(tmp_path)
    np.save(tmp_path / "fog.npy", np.zeros((7, 8, 8, 1), np.uint8))
    with pytest.raises(UsageError, match="fog.npy has 7 images; it must have 5"):
        measure(tmp_path)
    np.save(tmp_path / "labels.npy", np.roll(Source().label, 1))
    with pytest.raises(UsageError, match="not those of the clean split"):
        measure(tmp_path)
    flags = ["eval.py", "--config=configs/suites/corruptions.py"]
    flags.append(f"--checkpoint={tmp_path}")
    assert command.main(flags) == 2
    assert "--config.corruptions.folder=DIR" in capsys.readouterr().err
