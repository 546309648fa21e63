"""Certified accuracy: its numbers by hand, its files, and what is told of mistakes."""

import csv
import json

import numpy as np
import pytest

from jaxadv.evaluation import certificates, table
from jaxadv.evaluation.certificates import run, summary
from jaxadv.specs import UsageError
from tests import nets

COUNT = 20
CONFIG = {
    "smoothing": {"sigma": 0.1, "selection": 20, "draws": 200, "radii": [0.0, 0.1]},
    "examples": 8,
    "batch_size": 8,
}


class Source:
    name, class_names = "made", tuple("abcd")

    def __init__(self):
        self.image, self.label = nets.batch(COUNT)

    def __len__(self):
        return COUNT

    def get(self, ids):
        return {"image": self.image[ids], "label": self.label[ids]}


COLUMNS = {
    "id": np.arange(5),
    "label": np.array([0, 1, 2, 3, 0]),
    "prediction": np.array([0, 1, -1, 0, 0]),
    "radius": np.array([0.5, 1.0, 0.0, 2.0, 0.25]),
    "draws": np.full(5, 10),
    "seconds": np.full(5, 2.0),
}


def test_the_numbers_by_hand():
    found = summary.summarize(COLUMNS, [0.0, 0.25, 0.5, 1.5])
    assert [row["accuracy"] for row in found["certified"]] == [0.6, 0.6, 0.4, 0.0]
    assert found["average_radius"]["mean"] == pytest.approx(1.75 / 5)
    assert found["average_radius"]["standard_error"] == pytest.approx(
        np.std([0.5, 1, 0, 0, 0.25], ddof=1) / np.sqrt(5)
    )
    assert found["abstained"]["accuracy"] == found["wrong"]["accuracy"] == 0.2
    assert (found["draws"], found["seconds"]) == (50, 10.0)
    radii, share = summary.curve(COLUMNS)
    assert radii.tolist() == [0.0, 0.25, 0.5, 1.0]
    np.testing.assert_allclose(share, [0.6, 0.6, 0.4, 0.2])


def test_the_published_lines():
    lines = summary.published(COLUMNS).splitlines()
    assert lines[0].split("\t") == "idx label predict radius correct time".split()
    assert lines[3].split("\t") == ["2", "2", "-1", "0.0", "0", "2.000"]
    assert lines[2].split("\t") == ["1", "1", "1", "1.0", "1", "2.000"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder, lines = tmp_path_factory.mktemp("certify"), []
    content = certificates.evaluate(
        nets.linear(), Source(), CONFIG, folder, name="net", show=lines.append
    )
    return folder, content, lines


def test_everything_is_written(written):
    folder, content, lines = written
    found = table.load(folder / "certificates.npz")
    # Evenly over the split, from its first image on.
    assert found.columns["id"].tolist() == [0, 2, 5, 7, 10, 12, 15, 17]
    assert content["n"] == 8 and set(found.columns["draws"]) == {200}
    kept = json.loads((folder / "certify.json").read_text())
    assert content["certified"] == kept["certified"] and kept["network"] == "net"
    with (folder / "certify.csv").open() as file:
        assert next(csv.reader(file))[0] == "l2 radius"
    page = (folder / "certify.md").read_text()
    assert "![certified accuracy](certified.png)" in page and "alpha" not in page[:20]
    assert (folder / "certified.png").stat().st_size > 5000
    assert len((folder / "certify.tsv").read_text().splitlines()) == 9
    told = "\n".join(lines)
    assert "ACR" in told and "of at most 0.001, of 8 about 0.008 at most" in told


def test_the_same_call_draws_nothing_again(written, monkeypatch):
    folder, content, _ = written
    monkeypatch.setattr("jaxadv.smoothing.sampler.Sampler.counts", None)
    again = certificates.evaluate(
        nets.linear(), Source(), CONFIG, folder, name="net", show=lambda line: None
    )
    assert again == content


@pytest.mark.parametrize("field", ["sigma", "seed"])
def test_other_noise_is_drawn_anew(written, monkeypatch, field):
    folder = written[0]
    config = {**CONFIG, "smoothing": dict(CONFIG["smoothing"])}
    (config if field == "seed" else config["smoothing"])[field] = 1
    monkeypatch.setattr("jaxadv.smoothing.sampler.Sampler.counts", None)
    with pytest.raises(TypeError, match="not callable"):
        certificates.evaluate(nets.linear(), Source(), config, folder, name="net")


def test_sigma_is_that_of_the_training_or_is_asked_for():
    trained = {"defense": {"name": "gaussian", "sigma": 0.5}}
    assert certificates.resolve({}, trained)["smoothing"]["sigma"] == 0.5
    given = {"smoothing": {"sigma": 0.25}}
    assert certificates.resolve(given, trained)["smoothing"]["sigma"] == 0.25
    with pytest.raises(UsageError, match="--config.smoothing.sigma=0.25"):
        certificates.resolve({}, {"defense": {"name": "clean"}})
    with pytest.raises(UsageError, match="alpha"):
        certificates.resolve({"smoothing": {"sigma": 0.25, "alpha": 0.9}})


def test_radii_end_where_so_many_draws_can_certify():
    noise = {"radii": None, "draws": 1000, "alpha": 0.001, "sigma": 0.5}
    assert run._radii(noise) == [0.0, 0.25, 0.5, 0.75, 1.0]  # 0.5 x 2.46326
    assert run._radii(noise | {"sigma": 0.05}) == [0.0]
    assert run._radii(noise | {"radii": (3.0,)}) == (3.0,)
