"""Errors under stored corruptions, against counts by hand."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxadv import weights
from jaxadv.classifier import Classifier
from jaxadv.evaluation import command, corruptions, metrics
from jaxadv.evaluation.corruptions import run, sets
from jaxadv.evaluation.corruptions.sets import open_folder
from jaxadv.models import MODELS
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
    monkeypatch.setattr(run, "_BLOCK", 15)
    found = measure(folder, batch_size=16)
    assert found["clean"] == 8 / COUNT and found["n"] == COUNT
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
    small = tmp_path / "fog" / "1" / names[0]
    Image.new("RGB", (3, 3)).save(next(small.glob("*")), format="png")
    with pytest.raises(UsageError, match="give sets of one size"):
        stored.read("fog", 1, np.arange(COUNT))
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
    monkeypatch.setattr(sets.Arrays, "read", None)  # nothing left to read
    kept.write_text("\n".join(lines) + "\n")
    assert measure(folder, kept=kept) == whole
    with pytest.raises(TypeError):
        measure(folder, kept=kept, examples=10)  # other images


def test_scores_are_those_of_the_papers():
    ours = {"n": 50, "clean": 0.1, "errors": {"fog": [0.2] * 5, "frost": [0.1] * 5}}
    theirs = {"clean": 0.2, "errors": {"fog": [0.4] * 5, "frost": [0.6] * 5}}
    content = corruptions.summarize(ours, theirs)
    fog, frost = (content["corruptions"][name] for name in ("fog", "frost"))
    assert np.isclose(fog["ce"], 0.5) and np.isclose(frost["ce"], 1 / 6)
    assert np.isclose(fog["relative_ce"], 0.5) and np.isclose(frost["relative_ce"], 0)
    assert np.isclose(content["means"]["all"]["ce"], (1 / 2 + 1 / 6) / 2)
    assert np.isclose(content["means"]["weather"]["relative_ce"], 0.25)
    assert "noise" not in content["means"]
    ends = dict(zip(("low", "high"), metrics.wilson(5, 50), strict=True))
    assert content["clean"] == {"mean": 0.1, "n": 50, **ends}
    low, high = metrics.wilson(0.15 * 50, 50)  # the sets are of the same images
    mean = content["means"]["weather"]
    assert np.allclose([mean["low"], mean["high"]], [low, high]) and mean["n"] == 50
    assert "ce" not in corruptions.summarize(ours)["means"]["all"]
    theirs["errors"]["fog"] = [0.2] * 5  # nothing lost: no relative error
    content = corruptions.summarize(ours, theirs)
    assert content["corruptions"]["fog"]["relative_ce"] is None
    assert content["means"]["weather"]["relative_ce"] is None
    assert corruptions.table(content)[2][-1] == "-"


def test_the_tables_are_written(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        run.checkpoints, "load_classifier", lambda *_: (MODEL, None, None)
    )
    config = {"corruptions": {"folder": str(folder), "reference": "run"}}
    lines = []
    corruptions.evaluate(
        MODEL, Source(), config, tmp_path, name="made", show=lines.append
    )
    assert "fog" in lines[0] and lines[1].endswith("corruptions.md")
    page = (tmp_path / "corruptions.md").read_text()
    row = "| fog | 20.00 | 30.00 | 40.00 | 50.00 | 60.00 | 40.00 | 40 | 26.35 - 55.40 |"
    assert f"{row} 100.00 |" in page
    assert "| clean | - | - | - | - | - | 20.00 | 40 | 10.50 - 34.76 | - |" in page
    stored = json.loads((tmp_path / "corruptions.json").read_text())
    assert stored["means"]["all"]["ce"] == 1.0 and stored["means"]["all"]["n"] == COUNT
    assert 0 < stored["means"]["all"]["low"] < stored["means"]["all"]["mean"]
    assert (tmp_path / "corruptions.csv").read_text().startswith("corruption,1,2,3")


@pytest.mark.parametrize("copies", [1, 5])
def test_labels_may_repeat_themselves(tmp_path, copies):
    """Whether they are given at each severity is a question of their number alone."""
    source = Source()
    source.label = np.arange(COUNT) % 4
    np.save(tmp_path / "labels.npy", np.tile(source.label, copies))
    np.save(tmp_path / "fog.npy", np.concatenate([source.image] * 5))
    stored = open_folder(tmp_path, Source.class_names)
    np.testing.assert_array_equal(stored.labels, source.label)
    found = corruptions.measure(MODEL, source, stored)
    assert found["errors"]["fog"] == [found["clean"]] * 5
    np.save(tmp_path / "labels.npy", np.arange(5 * COUNT) % 3)
    with pytest.raises(UsageError, match="not the same at each of 5 severities"):
        open_folder(tmp_path, Source.class_names)


def _nan_where_bright(variables, image, key):
    logits = variables["w"] @ image.reshape(-1) + variables["b"]
    return jnp.where(jnp.mean(image) > 0.99, jnp.nan, logits)


def test_logits_that_are_not_numbers_are_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="40 clean images give logits"):
        stored = open_folder(folder, Source.class_names)
        corruptions.measure(nets.sick("nan"), Source(), stored)
    np.save(tmp_path / "labels.npy", Source().label)
    white = np.concatenate([Source().image] * 5)
    white[2 * COUNT + 7] = 255
    np.save(tmp_path / "fog.npy", white)
    stored = open_folder(tmp_path, Source.class_names)
    partly = Classifier.from_function(_nan_where_bright, MODEL.variables)
    with pytest.raises(UsageError, match=r"1 images of fog at severity 3 .*examples 7"):
        corruptions.measure(partly, Source(), stored)


def test_images_of_another_shape_are_told_in_one_line(folder, tmp_path):
    stored = open_folder(folder, Source.class_names)
    with pytest.raises(UsageError, match=r"^data: images of shape \(8, 8, 1\) .*$"):
        corruptions.measure(nets.linear(shape=(4, 4, 1)), Source(), stored)
    with pytest.raises(UsageError, match="labels are outside the model's 2 classes"):
        corruptions.measure(nets.linear(classes=2), Source(), stored)
    np.save(tmp_path / "labels.npy", Source().label)
    np.save(tmp_path / "fog.npy", np.zeros((5 * COUNT, 4, 4, 1), np.uint8))
    with pytest.raises(UsageError, match=r"images of shape \(4, 4, 1\)"):
        measure(tmp_path)


def made(folder, source, images=None, labels=None):
    """A set `fog` of which something may be otherwise."""
    images = np.concatenate([source.image] * 5) if images is None else images
    np.save(folder / "fog.npy", images)
    np.save(folder / "labels.npy", source.label if labels is None else labels)


def test_sets_are_taken_as_published_or_not_at_all(tmp_path):
    source = Source()
    made(tmp_path, source, labels=np.int64(source.label))
    assert measure(tmp_path)["errors"]["fog"] == [8 / COUNT] * 5
    stored = np.concatenate([source.image] * 5)
    bad = (
        (
            {"images": np.float32(stored / 255)},
            "fog.npy: the dtype is float32; .*int8",
        ),
        ({"images": stored[..., 0]}, r"fog.npy: the shape is \(200, 8, 8\); .*h, w, c"),
        ({"images": source.image}, "as the images of fog.npy, .* not of one alone"),
        ({"labels": source.label[:, None]}, r"labels.npy: .*\(40, 1\); .*\(40,\)"),
        ({"labels": np.eye(4)[source.label]}, r"labels.npy: the shape is \(40, 4\)"),
        ({"labels": np.float32(source.label)}, "labels.npy: the dtype is float32"),
    )
    for changed, words in bad:
        made(tmp_path, source, **changed)
        with pytest.raises(UsageError, match=words) as error:
            measure(tmp_path)
        assert "\n" not in str(error.value)


def test_a_tree_has_all_severities(tmp_path):
    (tmp_path / "fog" / "1" / "a").mkdir(parents=True)
    with pytest.raises(UsageError, match="fog has no folder 2; .* 5 severities"):
        open_folder(tmp_path, ("a",))


def test_a_reference_that_lacks_a_set_or_makes_no_errors():
    ours = {"n": 50, "clean": 0.1, "errors": {"fog": [0.2] * 5, "snow": [0.1] * 5}}
    theirs = {"clean": 0.2, "errors": {"fog": [0.4] * 5}}
    with pytest.raises(UsageError, match="the reference has no errors of snow"):
        corruptions.summarize(ours, theirs)
    theirs["errors"]["snow"] = [0.0] * 5
    content = corruptions.summarize(ours, theirs)
    assert content["corruptions"]["snow"]["ce"] is None
    assert content["means"]["weather"]["ce"] is None
    assert np.isclose(content["corruptions"]["fog"]["ce"], 0.5)
    rows = corruptions.table(content)
    assert next(row for row in rows if row[0] == "snow")[-2] == "-"
    json.dumps(content, allow_nan=False)


def test_the_reference_may_be_a_weight_file(folder, tmp_path):
    module = MODELS["mlp"](num_classes=nets.CLASSES)
    variables = module.init(jax.random.key(0), jnp.zeros((1, *nets.SHAPE)))
    file = tmp_path / "reference.safetensors"
    weights.save(file, weights.Weights(module, variables, (0.4,), (0.3,)))
    config = {"corruptions": {"folder": str(folder), "reference": str(file)}}
    stored, other = open_folder(folder, Source.class_names), tmp_path / "out"
    content = corruptions.evaluate(
        MODEL, Source(), config, other, name="a", show=lambda _: None
    )
    loaded = Classifier.from_linen(module, variables, 0.4, 0.3)
    theirs = corruptions.measure(loaded, Source(), stored)["errors"]
    ours = content["corruptions"]["fog"]
    assert ours["ce"] == np.sum(ours["errors"]) / np.sum(theirs["fog"])
    config["corruptions"]["reference"] = str(tmp_path / "absent.pth")
    with pytest.raises(UsageError, match="absent.pth is no file"):
        corruptions.evaluate(MODEL, Source(), config, tmp_path / "none", name="a")
    assert not (tmp_path / "none").exists()


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
