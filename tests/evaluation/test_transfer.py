"""Adversarial images of one network, judged by others."""

import csv
import json

import jax
import numpy as np
import pytest

from jaxadv import evaluation, loading
from jaxadv.evaluation.tools import transfer
from jaxadv.specs import UsageError
from tests import nets

COUNT = 24
IMAGES, _ = nets.batch(COUNT)
MODELS = {"a": nets.linear()}
MODELS["b"] = MODELS["a"].replace(  # one that errs nearly alike
    variables=jax.tree.map(
        lambda w: (
            w + 0.3 * np.std(w) * np.sin(np.arange(np.size(w)).reshape(np.shape(w)))
        ),
        MODELS["a"].variables,
    )
)
LABELS = nets.predicted(MODELS["a"], IMAGES)


class Source:
    name, class_names = "made", tuple("abcdefghij"[: nets.CLASSES])

    def __len__(self):
        return COUNT

    def get(self, ids):
        return {"image": IMAGES[ids], "label": LABELS[ids]}


def evaluated(folder, name, eps=0.1, images="float32", count=COUNT):
    suite = {
        "attacks": {"fgsm": {"name": "fgsm", "threat": {"name": "linf", "eps": eps}}},
        "examples": count, "batch_size": 8, "checks": "none",
    }  # fmt: skip
    info = {"name": name, "checkpoint": f"runs/{name}", "which": "best"}
    evaluation.evaluate(
        MODELS[name], Source(), suite, folder, info=info, save_images=images,
        show=lambda line: None,
    )  # fmt: skip
    return folder


@pytest.fixture
def two(tmp_path, monkeypatch):
    monkeypatch.setattr(
        loading, "load", lambda path, which: MODELS[path.split("/")[-1]]
    )
    return [evaluated(tmp_path / name, name) for name in MODELS]


def test_the_matrix_is_what_each_network_says_of_each_image(two, tmp_path, capsys):
    arguments = [*map(str, two), f"--output={tmp_path / 'out'}"]
    assert transfer.main(arguments) == 0
    content = json.loads((tmp_path / "out" / "transfer.json").read_text())
    said = {k: nets.predicted(m, IMAGES) == LABELS for k, m in MODELS.items()}
    common = said["a"] & said["b"]
    assert content["n"] == common.sum() and content["names"] == ["a", "b"]
    for j in range(2):
        with np.load(two[j] / "adversarial.npz") as stored:
            images = stored["fgsm/image"][common]
        for i, target in enumerate("ab"):
            right = nets.predicted(MODELS[target], images) == LABELS[common]
            cell = content["accuracy"]["fgsm"][i][j]
            assert cell["accuracy"] == pytest.approx(right.mean())
            assert cell["n"] == common.sum()
    assert "fgsm" in content["accuracy"]
    with (tmp_path / "out" / "transfer.csv").open() as file:
        assert next(csv.reader(file))[1:] == ["made on a", "made on b"]
    assert (tmp_path / "out" / "transfer_fgsm.png").stat().st_size > 3000
    told = capsys.readouterr().out
    assert "fgsm: network" in told and f"of the {content['n']} that all" in told


def test_a_network_that_others_break_more_often_than_it_is_flagged(two, tmp_path):
    """The white box attacks with nearly nothing: transfer beats it."""
    weak = evaluated(tmp_path / "weak", "a", eps=1e-6)
    content = transfer.transfer([weak, two[1]], tmp_path / "out")
    assert {"attack": "fgsm", "target": 0, "source": 1} in content["stronger"]
    (line,) = [
        row for row in transfer.cells(content, "fgsm")[1:] if row[0] == "a"
    ]  # fmt: skip
    assert line[2].endswith(" *") and not line[1].endswith("*")
    assert "&#42;" in (tmp_path / "out" / "transfer.md").read_text()
    # Bytes are read as well.
    with pytest.warns(UserWarning, match="is replaced"):
        evaluated(tmp_path / "weak", "a", eps=0.1, images="uint8")
    assert not transfer.transfer([weak, two[1]], tmp_path / "out")["stronger"]


def test_what_cannot_be_compared_is_told(two, tmp_path):
    def words(*folders):
        with pytest.raises(UsageError) as told:
            transfer.transfer(folders, tmp_path / "out")
        return str(told.value)

    assert "two evaluations or more" in words(two[0])
    assert "has no report of a checkpoint" in words(two[0], tmp_path / "none")
    (two[0] / "adversarial.npz").rename(two[0] / "kept.npz")
    assert "evaluate with --save_images" in words(*two)
    (two[0] / "kept.npz").rename(two[0] / "adversarial.npz")
    few = evaluated(tmp_path / "few", "b", count=8)
    assert "was evaluated on other images" in words(two[0], few)
