"""Sets that tensorflow_datasets has prepared under any name, `tfds:NAME`."""

import io
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxadv.data import disk, formats, sources
from jaxadv.specs import UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3), np.uint8)
LABELS = np.arange(9) % 3


class Numbers(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Labels without names, and images that are no bytes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Tensor(shape=(2, 2, 1), dtype=np.float32)
        label = tfds.features.ClassLabel(num_classes=2)
        features = tfds.features.FeaturesDict({"image": image, "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": iter([(0, {"image": np.ones((2, 2, 1), "f"), "label": 0})])}

    def _generate_examples(self):
        return {}


def prepare(root, name, arrays, version="1.0.0"):
    """Writes splits of (images [n, h, w, c], labels [n]), or of encoded images."""
    if isinstance(next(iter(arrays.values()))[0], np.ndarray):
        columns = {s: {"image": x, "label": y} for s, (x, y) in arrays.items()}
        found = formats.contents.from_arrays(
            columns, {"label": ("a", "b", "c")}, with_id=False
        )
    else:
        found = formats.Contents(
            shape=None,
            class_names={"label": ("a", "b", "c")},
            splits={
                split: lambda xs=xs, ys=ys: (
                    (i, {"image": x, "label": int(y)})
                    for i, (x, y) in enumerate(zip(xs, ys, strict=True))
                )
                for split, (xs, ys) in arrays.items()
            },
        )
    disk.FromFiles(found, name, version, root).download_and_prepare()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder, "mine", {"train": (IMAGES[:6], LABELS[:6])})
    both = {"train": (IMAGES[:6], LABELS[:6]), "test": (IMAGES[6:], LABELS[6:])}
    prepare(folder, "mine", both, "10.0.0")
    return folder


def held(source):
    got = source.get(np.arange(len(source)))
    pairs = zip(got["image"], got["label"], strict=True)
    return sorted((x.tobytes(), int(y)) for x, y in pairs)


def expected(images, labels):
    return sorted((x.tobytes(), int(y)) for x, y in zip(images, labels, strict=True))


def test_the_highest_version_is_read_unless_one_is_named(root):
    for name, split, rows in [
        ("tfds:mine", "train", slice(0, 6)),
        ("tfds:mine", "test", slice(6, 9)),
        ("tfds:mine:1.0.0", "train", slice(0, 6)),
    ]:
        sources.check_name(name, root)
        source = sources.load(name, split, root)
        assert source.class_names == ("a", "b", "c")
        assert source.image_shape == (4, 5, 3)
        assert held(source) == expected(IMAGES[rows], LABELS[rows])
    assert sources.no_test("tfds:mine", root) == ""
    assert "prepare the set with one" in sources.no_test("tfds:mine:1.0.0", root)
    carved = sources.load("tfds:mine:1.0.0", "test", root, test=0.5)
    assert np.bincount(carved.labels).tolist() == [1, 1, 1]


def test_what_is_missing_is_told(root, tmp_path):
    for name, message in [
        ("tfds:none", "no set is prepared in .*none; prepare it with file_format="),
        ("tfds:mine:2.0.0", "there is no such version, but 1.0.0, 10.0.0"),
        ("tfds:mine:1.0.0", r"no split 'test'; it has 'train': prepare the set with"),
    ]:
        with pytest.raises(UsageError, match=message):
            sources.load(name, "test", root)
    shutil.copytree(root / "mine", tmp_path / "other" / "small")
    with pytest.raises(UsageError, match="give one of: tfds:other/small"):
        sources.load("tfds:other", "train", tmp_path)
    assert len(sources.load("tfds:other/small", "train", tmp_path)) == 6


def test_files_that_need_tensorflow_are_refused(root, tmp_path):
    shutil.copytree(root / "mine", tmp_path / "mine")
    file = tmp_path / "mine" / "10.0.0" / "dataset_info.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"fileFormat": "tfrecord"}))
    with pytest.raises(UsageError, match="are tfrecord, which only TensorFlow reads"):
        sources.load("tfds:mine", "train", tmp_path)
    file.write_text("{")
    with pytest.raises(UsageError, match=f"{re.escape(str(file))} cannot be read"):
        sources.load("tfds:mine", "train", tmp_path)


def test_images_that_vary_in_size_need_one(tmp_path):
    def encoded(size, shade):
        file = io.BytesIO()
        Image.new("RGB", size, (shade, 0, 0)).save(file, "PNG")
        return file.getvalue()

    images = [encoded((9, 12), 40), encoded((20, 7), 80), encoded((8, 8), 120)]
    prepare(tmp_path, "vary", {"train": (images, [0, 1, 2])})
    with pytest.raises(UsageError, match="vary in size; give config.data.image_size"):
        sources.load("tfds:vary", "train", tmp_path)
    source = sources.load("tfds:vary", "train", tmp_path, image_size=6)
    assert source.image_shape == (6, 6, 3) and source.varying
    got = source.get([0, 1, 2])
    assert np.array_equal(got["image"][:, 0, 0, 0] // 40 - 1, got["label"])


def test_other_features_are_refused(tmp_path):
    Numbers(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    with pytest.raises(UsageError, match=r"features are image \(Tensor\), label"):
        sources.load("tfds:numbers", "train", tmp_path)


def test_the_fingerprint_is_that_of_what_was_prepared(root, tmp_path):
    first = sources.load("tfds:mine", "train", root).fingerprint
    shutil.copytree(root / "mine" / "10.0.0", tmp_path / "mine" / "10.0.0")
    assert sources.load("tfds:mine", "test", tmp_path).fingerprint == first
    file = next((tmp_path / "mine" / "10.0.0").glob("*test*record*"))
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    assert sources.load("tfds:mine", "train", tmp_path).fingerprint != first
