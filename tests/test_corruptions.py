"""Errors under stored corruptions, against counts by hand."""

import json

import numpy as np
import pytest

from jaxadv.evaluation import corruptions
from jaxadv.specs import UsageError
from tests import nets

MODEL = nets.linear(seed=3)
COUNT = 40


class Source:
    """The clean test split; labels of eight images are wrong."""

    name = "made"

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


def test_errors_are_counted_severity_by_severity(folder):
    found = corruptions.measure(MODEL, Source(), folder, batch_size=16)
    assert found["clean"] == 8 / COUNT
    assert list(found["errors"]) == ["fog", "contrast"]
    want = [(8 + 4 * s) / COUNT for s in range(5)]
    assert np.allclose(found["errors"]["fog"], want)
    assert np.allclose(found["errors"]["contrast"], 8 / COUNT)
    some = corruptions.measure(MODEL, Source(), folder, examples=10)
    assert np.allclose(some["errors"]["fog"], [0.8, 1, 1, 1, 1])


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


def test_the_tables_are_written(folder, tmp_path):
    found = corruptions.measure(MODEL, Source(), folder)
    content = corruptions.summarize(found, found)
    corruptions.write(content, "made", tmp_path)
    page = (tmp_path / "corruptions.md").read_text()
    assert "| fog | 20.00 | 30.00 | 40.00 | 50.00 | 60.00 | 40.00 | 100.00 |" in page
    stored = json.loads((tmp_path / "corruptions.json").read_text())
    assert stored["means"]["all"]["ce"] == 1.0
    assert (tmp_path / "corruptions.csv").read_text().startswith("corruption,1,2,3")


def test_mistakes_are_named(folder, tmp_path, capsys):
    with pytest.raises(UsageError, match="there is no labels.npy"):
        corruptions.measure(MODEL, Source(), tmp_path)
    np.save(tmp_path / "labels.npy", Source().label)
    with pytest.raises(UsageError, match="none of gaussian_noise"):
        corruptions.measure(MODEL, Source(), tmp_path)
    np.save(tmp_path / "fog.npy", np.zeros((7, 8, 8, 1), np.uint8))
    with pytest.raises(UsageError, match="fog.npy has 7 images; it must have 5"):
        corruptions.measure(MODEL, Source(), tmp_path)
    np.save(tmp_path / "labels.npy", np.roll(Source().label, 1))
    with pytest.raises(UsageError, match="not those of the clean test split"):
        corruptions.measure(MODEL, Source(), tmp_path)
    flags = [str(tmp_path / "run"), "--data", str(folder), "--output", str(tmp_path)]
    assert corruptions.main(flags) == 2
    assert "error: " in capsys.readouterr().err
