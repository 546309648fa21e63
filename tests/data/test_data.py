"""Data sets: rendering, preparing, reading back, splitting and batching."""

import fcntl
import gc
import gzip
import io
import itertools
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
import time

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxadv.data import (
    batches,
    catalog,
    crops,
    formats,
    prepare,
    records,
    rendering,
    sources,
)
from jaxadv.specs import UsageError

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A data folder that holds mnist5k."""
    folder = tmp_path_factory.mktemp("data")
    prepare.prepare("mnist5k", folder)
    return folder


@pytest.fixture(scope="module")
def few_shapes(tmp_path_factory):
    """A data folder with a few scenes of `shapes`."""
    from jaxadv.data import shapes

    folder = tmp_path_factory.mktemp("shapes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "_SIZES", {"train": 18, "test": 6})
        prepare.prepare("shapes", folder)
        prepare.prepare("shapes/64", folder)
    return folder


def toy(n=20, classes=2, **kwargs):
    """A source whose image i is filled with the value i."""
    images = np.tile(np.arange(n, dtype=np.uint8)[:, None, None, None], (1, 2, 2, 1))
    return sources.from_arrays(images, np.arange(n) % classes, **kwargs)


# mnist5k


def test_mnist5k_has_the_packaged_digits_split_by_class(data_dir):
    from jaxadv.data import mnist5k

    train, test = (sources.load("mnist5k", s, data_dir) for s in ("train", "test"))
    assert (len(train), len(test)) == (4000, 1000)
    assert train.image_shape == (28, 28, 1) and train.num_classes == 10
    assert (np.bincount(train.labels) == 400).all()
    assert (np.bincount(test.labels) == 100).all()
    images, labels = mnist5k.digits()
    packaged = sorted(
        bytes([y]) + x.tobytes() for x, y in zip(images, labels, strict=True)
    )
    found = []
    for source in (train, test):
        got = source.get(np.arange(len(source)))
        assert got["image"].dtype == np.uint8 and got["label"].dtype == np.int32
        pairs = zip(got["image"], got["label"], strict=True)
        found += [bytes([y]) + x.tobytes() for x, y in pairs]
    assert sorted(found) == packaged


def test_mnist5k_split_is_fixed():
    from jaxadv.data import mnist5k

    rows = mnist5k.split(np.arange(5000) // 500)
    assert not set(rows["train"]) & set(rows["test"])
    assert len(rows["train"]) + len(rows["test"]) == 5000
    assert rows["test"][:5].tolist() == [3, 6, 8, 9, 13]


# shapes


def test_scenes_are_the_same_every_time():
    first, again = (rendering.render("train", 7, 32) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    other = rendering.render("test", 7, 32)
    assert not np.array_equal(first.image, other.image)
    # Measured once; another value means that prepared files no longer match.
    checksum = [int(rendering.render("train", i, 32).image.sum()) for i in range(6)]
    assert checksum == [264246, 391513, 350528, 349100, 396329, 397805]


def test_masks_are_exact():
    for index in range(30):
        scene = rendering.render("train", index, 32)
        mask = scene.mask[..., 0] == 1
        changed = (scene.image != scene.background).any(-1)
        assert not changed[~mask].any()
        assert changed[mask].mean() > 0.9  # thin edges may round to no change
        assert 0.03 < mask.mean() < 0.35
        assert scene.label == index % 6


@pytest.mark.parametrize("shape", rendering.CLASSES)
def test_coverage_has_the_area_of_the_outline(shape):
    center, radius, size = np.array([0.45, 0.55]), 0.3, 64
    tip, wedge = rendering._STAR_DIP, np.pi / 5
    area = {
        "disk": np.pi * 0.85**2,
        "square": (2 * 0.72) ** 2,
        "triangle": 3 * np.sqrt(3) / 4,
        "star": 5 * tip * np.sin(wedge),
        "ring": np.pi * (0.95**2 - 0.5**2),
        "cross": 2 * (1.84 * 0.6) - 0.6**2,
    }[shape]
    for angle in (0.0, 1.0):
        cover = rendering.coverage(shape, center, radius, angle, size)
        assert abs(cover.sum() / (area * (radius * size) ** 2) - 1) < 0.02


def test_background_strokes_and_colors_do_not_depend_on_the_class():
    # Neighbors in the sequence have different classes and the same statistics.
    scenes = [rendering.render("train", i, 32) for i in range(240)]
    means = np.stack([s.image[s.mask[..., 0] == 1].mean(0) for s in scenes]) / 255
    by_class = means.reshape(40, 6, 3).mean(0)
    error = means.std(0) / np.sqrt(40)
    assert (abs(by_class - means.mean(0)) < 4 * error).all()


def test_a_linear_model_cannot_tell_the_shapes():
    train = [rendering.render("train", i, 32) for i in range(900)]
    test = [rendering.render("test", i, 32) for i in range(300)]

    def matrix(scenes):
        pixels = np.stack([s.image.ravel() for s in scenes]).astype(np.float32)
        return pixels / 255 - 0.5, np.array([s.label for s in scenes])

    (x, y), (u, v) = matrix(train), matrix(test)
    # Full-batch gradient descent on the multinomial logistic loss.
    weights, bias, target = np.zeros((x.shape[1], 6), np.float32), 0, np.eye(6)[y]
    for _ in range(100):
        logits = x @ weights + bias
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        error = ((p - target) / len(y)).astype(np.float32)
        weights, bias = weights - 0.03 * x.T @ error, bias - 0.03 * error.sum(0)
    assert ((x @ weights + bias).argmax(1) == y).mean() > 0.35  # it does learn
    assert ((u @ weights + bias).argmax(1) == v).mean() < 0.45


def test_shapes_are_read_back_with_their_masks(few_shapes):
    train = sources.load("shapes", "train", few_shapes)
    assert train.class_names == rendering.CLASSES and train.image_shape == (32, 32, 3)
    got = train.get(np.arange(18))
    rows = zip(got["image"], got["mask"], got["label"], strict=True)
    found = {image.tobytes(): (mask, label) for image, mask, label in rows}
    for index in range(18):
        scene = rendering.render("train", index, 32)
        mask, label = found[scene.image.tobytes()]
        assert np.array_equal(mask, scene.mask) and label == scene.label
    assert sources.load("shapes/32", "test", few_shapes).image_shape == (32, 32, 3)
    large = sources.load("shapes/64", "test", few_shapes)
    assert large.image_shape == (64, 64, 3) and len(large) == 6


# preparing from files


def blank_digits():
    return np.zeros((12, 28, 28), np.uint8), np.zeros(12, np.uint8)


def write_idx(folder, images, labels, *, zipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, rows in (("train", slice(0, 8)), ("t10k", slice(8, None))):
        for stem, array in (("images-idx3", images), ("labels-idx1", labels)):
            part = array[rows]
            data = bytes((0, 0, 8, part.ndim))
            data += struct.pack(f">{part.ndim}I", *part.shape) + part.tobytes()
            name = f"{prefix}-{stem}-ubyte"
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)


def python2_batch(images, labels):
    """A CIFAR batch as Python 2 pickled it, opcode by opcode."""
    pixels = images.transpose(0, 3, 1, 2).tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"
        b"(I1\n(I%d\nI3072\ntcnumpy\ndtype\n(U\x02u1I0\nI1\ntR"
        b"(I3\nU\x01|NNNI-1\nI-1\nI0\ntbI00\nT%btb"
    ) % (len(images), struct.pack("<I", len(pixels)) + pixels)
    listed = b"".join(b"I%d\n" % label for label in labels)
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](" + listed + b"eu."


def write_cifar10(folder, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(6):
        name = f"data_batch_{i + 1}" if i < 5 else "test_batch"
        rows = slice(2 * i, 2 * i + 2)
        (folder / name).write_bytes(python2_batch(images[rows], labels[rows]))
    names = [f"class{i}".encode() for i in range(10)]
    meta = pickle.dumps({b"label_names": names}, protocol=2)
    (folder / "batches.meta").write_bytes(meta)


def write_cifar100(folder, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", slice(0, 8)), ("test", slice(8, 12))):
        batch = {
            b"data": images[rows].transpose(0, 3, 1, 2).reshape(-1, 3072),
            b"fine_labels": labels[rows].tolist(),
            b"coarse_labels": (labels[rows] // 5).tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {
        b"fine_label_names": [b"f%d" % i for i in range(100)],
        b"coarse_label_names": [b"c%d" % i for i in range(20)],
    }
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))


def assert_holds(source, images, labels):
    """`source` has exactly these examples, in whatever order."""
    got = source.get(np.arange(len(source)))
    pairs = zip(got["image"], got["label"], strict=True)
    want = zip(images, labels, strict=True)
    assert sorted((x.tobytes(), int(y)) for x, y in pairs) == sorted(
        (x.tobytes(), int(y)) for x, y in want
    )


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_are_read_back(tmp_path, name):
    images = RNG.integers(0, 256, (12, 28, 28), np.uint8)
    labels = RNG.integers(0, 10, 12).astype(np.uint8)
    write_idx(tmp_path / "from" / "raw", images, labels, zipped=name == "mnist")
    folder, written = prepare.prepare(name, tmp_path / "to", tmp_path / "from")
    assert written and folder == tmp_path / "to" / name / "3.0.1"
    train, test = (sources.load(name, s, tmp_path / "to") for s in ("train", "test"))
    assert_holds(train, images[:8, ..., None], labels[:8])
    assert_holds(test, images[8:, ..., None], labels[8:])
    if name == "fashion_mnist":
        assert train.class_names[9] == "Ankle boot"


@pytest.mark.parametrize("archived", [False, True])
def test_cifar10_files_are_read_back(tmp_path, archived):
    images = RNG.integers(0, 256, (12, 32, 32, 3), np.uint8)
    labels = RNG.integers(0, 10, 12)
    place = tmp_path / "from" / "cifar-10-batches-py"
    write_cifar10(place, images, labels)
    given_path = tmp_path / "from"
    if archived:
        given_path = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(given_path, "w:gz") as tar:
            tar.add(place, place.name)
    prepare.prepare("cifar10", tmp_path / "to", given_path)
    train = sources.load("cifar10", "train", tmp_path / "to")
    test = sources.load("cifar10", "test", tmp_path / "to")
    assert_holds(train, images[:10], labels[:10])
    assert_holds(test, images[10:], labels[10:])
    assert train.class_names[3] == "class3"


def test_cifar100_files_are_read_back(tmp_path):
    images = RNG.integers(0, 256, (12, 32, 32, 3), np.uint8)
    labels = RNG.integers(0, 100, 12)
    write_cifar100(tmp_path / "from", images, labels)
    prepare.prepare("cifar100", tmp_path / "to", tmp_path / "from")
    test = sources.load("cifar100", "test", tmp_path / "to")
    assert_holds(test, images[8:], labels[8:])
    assert test.num_classes == 100 and test.class_names[42] == "f42"


def jpeg(color, size=(40, 30)):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_imagenet(folder, classes, per_class=1):
    """Every image of class i is filled with the color (i, 255 - i, 128)."""
    wnids = [f"n{i:08d}" for i in range(classes)]
    for part, (i, wnid) in itertools.product(("train", "val"), enumerate(wnids)):
        place = folder / part / wnid
        place.mkdir(parents=True)
        if classes == 1000 and i % 10:
            continue  # unused classes stay empty
        shade = i // 10 if classes == 1000 else i
        for k in range(per_class):
            data = jpeg((shade, 255 - shade, 128))
            (place / f"{wnid}_{k}.JPEG").write_bytes(data)
    return wnids


@pytest.mark.parametrize("classes", [1000, 100])
def test_imagenet100_takes_every_tenth_class(tmp_path, classes):
    wnids = write_imagenet(tmp_path / "from", classes)
    prepare.prepare("imagenet100", tmp_path / "to", tmp_path / "from")
    kwargs = {"data_dir": tmp_path / "to", "image_size": 14}
    train = sources.load("imagenet100", "train", **kwargs)
    assert train.class_names == tuple(wnids[:: classes // 100])
    assert len(train) == 100 and train.image_shape == (14, 14, 3)
    for draw in (None, (0, 1)):
        got = train.get(np.arange(100), draw)
        assert got["image"].shape == (100, 14, 14, 3)
        shades = got["image"].astype(int)
        error = abs(shades[..., 0] - got["label"][:, None, None])
        assert error.max() <= 4  # the shade tells the class
    assert len(sources.load("imagenet100", "validation", **kwargs)) == 100


def test_imagenet_trees_of_other_sizes_are_refused(tmp_path):
    write_imagenet(tmp_path / "from", 7)
    with pytest.raises(UsageError, match="7 class folders"):
        prepare.prepare("imagenet100", tmp_path / "to", tmp_path / "from")


def test_preparing_again_does_nothing(data_dir, capsys):
    file = next(data_dir.glob("mnist5k/1.0.0/*array_record*"))
    before = file.stat().st_mtime_ns
    assert prepare.main(["mnist5k", "--data_dir", str(data_dir)]) == 0
    assert "already prepared" in capsys.readouterr().out
    assert file.stat().st_mtime_ns == before


def test_the_environment_names_the_folder(data_dir, monkeypatch):
    monkeypatch.setenv("JAXADV_DATA_DIR", str(data_dir))
    assert catalog.find("mnist5k") == data_dir / "mnist5k" / "1.0.0"


def break_idx(path):
    (path / "t10k-labels-idx1-ubyte").unlink()
    return "mnist", "t10k-labels-idx1-ubyte"


def truncate_idx(path):
    file = path / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    return "mnist", "train-images-idx3-ubyte"


def lengthen_idx(path):
    file = path / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes() + b"\0")
    return "mnist", "t10k-images-idx3-ubyte"


def mislabel_idx(path):
    file = path / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1] + b"\x0a")
    return "mnist", "train-labels-idx1-ubyte: label 10"


def break_cifar(path):
    (path / "data_batch_3").unlink()
    return "cifar10", "data_batch_3"


def truncate_cifar(path):
    file = path / "data_batch_3"
    file.write_bytes(file.read_bytes()[:-40])
    return "cifar10", "data_batch_3"


def booby_trap_cifar(path):
    (path / "test_batch").write_bytes(pickle.dumps({b"data": os.getcwd}, protocol=2))
    return "cifar10", "test_batch: it asks to run posix.getcwd"


def truncate_image(path):
    file = path / "val" / "n00000042" / "n00000042_0.JPEG"
    file.write_bytes(file.read_bytes()[:-20])
    return "imagenet100", "n00000042_0.JPEG"


def no_such_folder(path):
    return "mnist", "there/nowhere"


BREAKERS = [
    break_idx,
    truncate_idx,
    lengthen_idx,
    mislabel_idx,
    break_cifar,
    truncate_cifar,
    booby_trap_cifar,
    truncate_image,
    no_such_folder,
]


@pytest.mark.parametrize("breaker", BREAKERS)
def test_damage_is_named_and_nothing_is_left(tmp_path, capsys, breaker):
    path = tmp_path / "there"
    if "idx" in breaker.__name__:
        write_idx(path, *blank_digits())
    elif "cifar" in breaker.__name__:
        write_cifar10(path, np.zeros((12, 32, 32, 3), np.uint8), np.zeros(12, int))
    elif breaker is truncate_image:
        write_imagenet(path, 100)
    name, message = breaker(path)
    source = path if breaker is not no_such_folder else path / "nowhere"
    to = tmp_path / "new" / "data"
    status = prepare.main([name, "--from", str(source), "--data_dir", str(to)])
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1 and message in error
    assert not (tmp_path / "new").exists()


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    write_idx(tmp_path / "from", *blank_digits())
    from jaxadv.data import disk

    calls = itertools.count()

    def fail_late(image):
        if next(calls) == 9:
            raise OSError("No space left on device")
        return png(image)

    png = disk._png
    monkeypatch.setattr(disk, "_png", fail_late)
    with pytest.raises(OSError, match="No space"):
        prepare.prepare("mnist", tmp_path / "to", tmp_path / "from")
    assert not (tmp_path / "to").exists()


def test_two_processes_may_prepare_at_once(tmp_path, monkeypatch):
    """The slower one finds the finished set in its way and takes it."""
    from jaxadv.data import disk

    write_idx(tmp_path / "from", *blank_digits())
    arguments = ("mnist", tmp_path / "to", tmp_path / "from")
    png, faster = disk._png, []

    def overtaken(image):
        monkeypatch.setattr(disk, "_png", png)
        faster.append(prepare.prepare(*arguments))
        return png(image)

    monkeypatch.setattr(disk, "_png", overtaken)
    folder, written = prepare.prepare(*arguments)
    assert faster == [(folder, True)] and not written
    assert [p.name for p in folder.parent.iterdir()] == ["3.0.1"]


def test_downloads_say_what_they_lack(tmp_path, monkeypatch):
    find_spec = prepare.importlib.util.find_spec
    absent = lambda n: None if n == "tensorflow" else find_spec(n)  # noqa: E731
    monkeypatch.setattr(prepare.importlib.util, "find_spec", absent)
    with pytest.raises(UsageError, match="tensorflow-cpu.*--from"):
        prepare.prepare("cifar10", tmp_path / "to")
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda n: "present")

    def offline(plain, config, root):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(prepare, "_registered", offline)
    with pytest.raises(UsageError, match="no route to host.*--from"):
        prepare.prepare("cifar10", tmp_path / "to")
    with pytest.raises(UsageError, match="cannot be downloaded"):
        prepare.prepare("imagenet100", tmp_path / "to")
    with pytest.raises(UsageError, match="--from: not for stl10"):
        prepare.prepare("stl10", tmp_path / "to", tmp_path)
    with pytest.raises(UsageError, match="did you mean 'cifar10'"):
        prepare.prepare("cifar01", tmp_path / "to")
    assert not (tmp_path / "to").exists()


# reading


def test_opening_again_reads_the_kept_arrays(data_dir):
    first = sources.load("mnist5k", "test", data_dir)
    kept = data_dir / "mnist5k" / "1.0.0" / "decoded" / "test"
    assert sorted(p.name for p in kept.iterdir()) == [
        "class_names.json",
        "image.npy",
        "label.npy",
    ]
    again = sources.load("mnist5k", "test", data_dir)
    assert np.array_equal(first.get([5, 2])["image"], again.get([5, 2])["image"])
    assert {p.name for p in kept.parent.iterdir()} <= {"train", "test"}


def test_a_read_only_folder_is_read_without_keeping(data_dir, monkeypatch):
    kept = data_dir / "mnist5k" / "1.0.0" / "decoded"
    sources.load("mnist5k", "test", data_dir)
    kept.rename(kept.with_name("aside"))
    try:

        def read_only(**kwargs):
            raise PermissionError

        monkeypatch.setattr(records.tempfile, "mkdtemp", read_only)
        assert len(sources.load("mnist5k", "test", data_dir)) == 1000
        assert not (kept / "test").exists()
    finally:
        kept.rmdir()
        kept.with_name("aside").rename(kept)


def test_damaged_prepared_files_are_named(few_shapes, tmp_path):
    folder = few_shapes / "shapes" / "64" / "1.0.0"
    record = next(folder.glob("*train*"))
    aside = tmp_path / record.name
    record.rename(aside)
    try:
        with pytest.raises(UsageError, match="delete the folder and prepare"):
            sources.load("shapes/64", "train", few_shapes)
    finally:
        aside.rename(record)
    sources.load("shapes/64", "train", few_shapes)
    image = folder / "decoded" / "train" / "image.npy"
    image.write_bytes(image.read_bytes()[:500])
    with pytest.raises(UsageError, match="delete the folder and prepare"):
        sources.load("shapes/64", "train", few_shapes)


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name, damage",
    [
        ("image.npy", flipped),
        ("label.npy", flipped),
        ("mask.npy", flipped),
        ("class_names.json", lambda path: path.write_text("{")),
        ("class_names.json", lambda path: path.unlink()),
        ("image.npy", lambda path: path.unlink()),
        ("label.npy", lambda path: path.unlink()),
        ("mask.npy", lambda path: path.unlink()),
    ],
)
@pytest.mark.parametrize("opened", [0, 1])
def test_kept_arrays_that_have_changed_are_told(few_shapes, name, damage, opened):
    kept = few_shapes / "shapes" / "32" / "1.0.0" / "decoded" / "test"
    first = sources.load("shapes", "test", few_shapes)
    for _ in range(opened):  # what was checked once is checked when it has changed
        sources.load("shapes", "test", few_shapes)
    damage(kept / name)
    for _ in range(2):
        with pytest.raises(UsageError, match="decoded/test is damaged: .*; delete it"):
            sources.load("shapes", "test", few_shapes)
    shutil.rmtree(kept)  # the remedy
    again = sources.load("shapes", "test", few_shapes)
    assert np.array_equal(first.labels, again.labels)


def test_kept_arrays_of_before_have_no_checksums(few_shapes):
    kept = few_shapes / "shapes" / "32" / "1.0.0" / "decoded" / "test"
    first = sources.load("shapes", "test", few_shapes)
    about = (kept / "class_names.json").read_text()
    try:
        (kept / "class_names.json").write_text(json.dumps(first.class_names))
        again = sources.load("shapes", "test", few_shapes)
        assert again.class_names == first.class_names
        (kept / "image.npy").rename(kept / "aside")
        with pytest.raises(UsageError, match="its images are missing"):
            sources.load("shapes", "test", few_shapes)
    finally:
        (kept / "aside").rename(kept / "image.npy")
        (kept / "class_names.json").write_text(about)


def test_what_a_kill_has_left_while_decoding_is_removed(few_shapes):
    kept = few_shapes / "shapes" / "32" / "1.0.0" / "decoded"
    shutil.rmtree(kept, ignore_errors=True)
    left, busy = (kept / f"{records._WORK}{name}" for name in ("left", "busy"))
    for folder in (left, busy):
        folder.mkdir(parents=True)
        (folder / "image.npy").touch()
    lock = os.open(busy, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as another process that decodes now
    sources.load("shapes", "test", few_shapes)
    assert {path.name for path in kept.iterdir()} == {"test", busy.name}
    os.close(lock)
    shutil.rmtree(busy)


def test_unknown_names_and_splits_are_told(data_dir):
    with pytest.raises(UsageError, match="it has 'train', 'test'"):
        sources.load("mnist5k", "validation", data_dir)
    with pytest.raises(UsageError, match="jaxadv.data.prepare cifar10"):
        sources.load("cifar10", "train", data_dir)
    with pytest.raises(UsageError, match="did you mean 'mnist5k'"):
        sources.load("mnist5", "train", data_dir)


def test_reading_needs_no_tensorflow(data_dir):
    code = (
        "import sys; from jaxadv.data import sources;"
        "s = sources.load('mnist5k', 'train', sys.argv[1]); s.get([0]);"
        "import tensorflow_datasets;"
        "print('tensorflow' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(data_dir)], capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_ids_outside_of_a_source_are_refused():
    source = toy(5)
    assert source.get([])["image"].shape == (0, 2, 2, 1)
    for ids in ([5], [0, -1]):
        with pytest.raises(IndexError, match="within 0..4"):
            source.get(ids)


GOOD = np.full((4, 2, 2, 3), 7, np.uint8)
LABELS = np.arange(4)


@pytest.mark.parametrize(
    "images, labels, kwargs, message",
    [
        (GOOD[0], LABELS, {}, r"give \[n, h, w, c\]"),
        (GOOD[:3], LABELS, {}, r"give \[n, h, w, c\]"),
        (GOOD.astype(np.int32), LABELS, {}, "convert them to uint8"),
        (GOOD.astype(np.float32), LABELS, {}, "divide by 255"),
        (np.full((4, 2, 2, 1), np.nan), LABELS, {}, "divide by 255"),
        (GOOD // 7, LABELS, {}, "multiply them by 255"),
        (GOOD[..., :2], LABELS, {}, "2 channels"),
        (GOOD, LABELS - 1, {}, "label -1"),
        (GOOD, LABELS, {"class_names": "abc"}, "label 3 is not within 0..2"),
        (GOOD, LABELS * 1.0, {}, "give integers"),
        (GOOD[:0], LABELS[:0], {}, "no examples"),
        (GOOD, LABELS, {"mask": GOOD}, "mask"),
        (GOOD, LABELS, {"mask": GOOD[..., :1]}, "zeros and ones"),
    ],
)
def test_bad_arrays_are_refused(images, labels, kwargs, message):
    with pytest.raises(UsageError, match=message):
        sources.from_arrays(images, labels, **kwargs)


def test_float_arrays_are_kept():
    source = sources.from_arrays(np.full((4, 2, 2, 3), 0.25), LABELS)
    got = source.get([1])["image"]
    assert got.dtype == np.float32 and (got == 0.25).all()


# crops


def test_center_crop_takes_the_middle():
    ramp = np.broadcast_to(np.arange(0, 240, 4)[None, :, None], (40, 60, 3))
    file = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).save(file, "PNG")
    # Shorter side 40 = 35 * 8 / 7: no resizing, and columns 12..46 remain.
    crop = crops.center(file.getvalue(), 35)
    assert np.array_equal(crop, ramp[2:37, 12:47])


def test_random_crops_stay_inside_and_repeat():
    ramp = np.broadcast_to(np.arange(0, 240, 4)[None, :, None], (40, 60, 3))
    file = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).save(file, "PNG")
    data = file.getvalue()
    seen = [crops.randomly(data, 8, np.random.default_rng(i)) for i in range(20)]
    again = crops.randomly(data, 8, np.random.default_rng(3))
    assert np.array_equal(seen[3], again)
    assert len({s.tobytes() for s in seen}) > 15
    for seed, (width, height) in itertools.product(range(100), [(60, 40), (40, 60)]):
        rng = np.random.default_rng(seed)
        left, top, right, bottom = crops._rectangle(width, height, rng)
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert (right - left) * (bottom - top) >= 0.07 * 2400
    # No rectangle of these ratios fits into a strip often: the center remains.
    assert crops._rectangle(1000, 2, np.random.default_rng(0)) == (499, 0, 501, 2)


# validation splits


@settings(deadline=None, max_examples=30)
@given(
    labels=st.lists(st.integers(0, 3), min_size=4, max_size=60),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 9),
)
def test_validation_is_disjoint_and_stratified(labels, fraction, seed):
    n, labels = len(labels), np.array(labels)
    count = int(np.clip(round(fraction * n), 1, n - 1))
    images = np.tile(
        np.arange(n, dtype=np.uint8)[:, None, None, None] + 2, (1, 1, 1, 1)
    )
    source = sources.from_arrays(images, labels, class_names="abcd")
    train, held_out = sources.split_train_validation(source, count, seed)
    assert (len(train), len(held_out)) == (n - count, count)
    rows = [p.get(np.arange(len(p)))["image"].ravel() - 2 for p in (train, held_out)]
    assert sorted(np.concatenate(rows)) == list(range(n))
    for part, row in zip((train, held_out), rows, strict=True):
        assert np.array_equal(part.labels, labels[row])
    for c in range(4):
        share = (labels == c).sum() * count / n
        assert abs((held_out.labels == c).sum() - share) < 1
    again = sources.split_train_validation(source, count, seed)[1]
    assert np.array_equal(again.get([0])["image"], held_out.get([0])["image"])


def test_validation_comes_from_training_data_only():
    with pytest.raises(UsageError, match="carved from training data"):
        sources.split_train_validation(toy(split="test"), 5, 0)
    for size in (0, 20, -1, 2.5, 1.5, float("nan")):
        with pytest.raises(UsageError, match="validation size"):
            sources.split_train_validation(toy(20), size, 0)
    train, held_out = sources.split_train_validation(toy(20), 0.25, 0)
    assert (train.split, held_out.split) == ("train", "validation")
    assert len(held_out) == 5
    other = sources.split_train_validation(toy(200), 0.25, 1)[1]
    same = sources.split_train_validation(toy(200), 0.25, 0)[1]
    assert not np.array_equal(
        other.get(np.arange(50))["image"], same.get(np.arange(50))["image"]
    )


# batches


def take(iterator, n):
    found = list(itertools.islice(iterator, n))
    iterator.close()
    return found


def test_resuming_goes_on_exactly():
    straight = take(batches.train_batches(toy(23), 4, 7), 20)
    for start in (0, 3, 5, 11, 17):
        resumed = take(batches.train_batches(toy(23), 4, 7, start), 3)
        for one, other in zip(straight[start:], resumed, strict=False):
            assert all(np.array_equal(one[k], other[k]) for k in ("image", "id"))


def test_an_epoch_shows_each_example_at_most_once():
    epochs = []
    found = take(batches.train_batches(toy(23), 4, 7), 15)
    assert batches.steps_per_epoch(toy(23), 4) == 5
    for epoch in range(3):
        ids = np.concatenate([b["id"] for b in found[5 * epoch : 5 * epoch + 5]])
        assert len(set(ids)) == 20 and ids.dtype == np.int32
        epochs.append(ids.tolist())
        order = np.random.default_rng((7, epoch)).permutation(23)
        assert order[:20].tolist() == ids.tolist()
    assert epochs[0] != epochs[1]
    for batch in found:
        assert np.array_equal(batch["image"][:, 0, 0, 0], batch["id"])
        assert np.array_equal(batch["label"], batch["id"] % 2)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_out_the_batch(count):
    whole = take(batches.train_batches(toy(23), 8, 1), 5)
    parts = [
        take(
            batches.train_batches(toy(23), 8, 1, process_index=i, process_count=count),
            5,
        )
        for i in range(count)
    ]
    for step, batch in enumerate(whole):
        joined = np.concatenate([part[step]["id"] for part in parts])
        assert np.array_equal(joined, batch["id"])


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 30),
    local=st.integers(1, 5),
    count=st.integers(1, 4),
    data=st.data(),
)
def test_evaluation_sees_every_id_once(n, local, count, data):
    ids = data.draw(st.permutations(range(40)))[:n]
    steps, seen = set(), []
    for i in range(count):
        found = list(
            batches.eval_batches(
                toy(40), ids, local * count, process_index=i, process_count=count
            )
        )
        steps.add(len(found))
        for batch in found:
            assert batch["id"].shape == (local,)
            assert np.array_equal(batch["valid"], batch["id"] >= 0)
            real = batch["valid"]
            assert np.array_equal(batch["image"][real, 0, 0, 0], batch["id"][real])
            assert (batch["image"][~real] == ids[0]).all()
            seen += batch["id"][real].tolist()
    assert seen == list(ids)
    assert len(steps) == 1


def test_bad_batches_are_refused():
    make = batches.train_batches
    for arguments, message in [
        ((toy(5), 6, 0), "within 1..5"),
        ((toy(5), 0, 0), "within 1..5"),
        ((toy(5), 2, -1), "seed is -1"),
        ((toy(5), 2, 0, -1), "start_step is -1"),
    ]:
        with pytest.raises(UsageError, match=message):
            make(*arguments)
    with pytest.raises(UsageError, match="multiple of the 2 processes"):
        make(toy(5), 3, 0, process_count=2)
    with pytest.raises(UsageError, match="multiple"):
        batches.eval_batches(toy(5), [0], 0)


def test_masks_and_random_crops_reach_the_batches():
    mask = np.arange(8).reshape(8, 1, 1, 1) % 2 * np.ones((8, 2, 2, 1), int)
    images = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones(
        (8, 2, 2, 1), np.uint8
    )
    source = sources.from_arrays(images, np.zeros(8, int), mask=mask)
    (batch,) = take(batches.train_batches(source, 8, 0), 1)
    assert np.array_equal(batch["mask"][:, 0, 0, 0], batch["id"] % 2)
    draws = []
    read = lambda rows, draw: draws.append(draw) or source.read(rows, draw)  # noqa: E731
    spy = sources.dataclasses.replace(source, read=read)
    take(batches.train_batches(spy, 8, 3, 1), 1)
    assert draws[0] == (3, 1)
    draws.clear()
    list(batches.eval_batches(spy, [0], 1))
    assert draws == [None]


def test_floats_are_the_same_on_host_and_device():
    values = np.arange(256, dtype=np.uint8)
    host = batches.to_float(values)
    device = jax.jit(batches.to_float)(values)
    assert host.dtype == device.dtype == np.float32
    assert np.array_equal(host, device)
    assert np.array_equal(host, (values.astype(np.float64) / 255).astype(np.float32))
    assert np.array_equal(batches.to_float(host), host)


def prefetchers():
    return [t for t in threading.enumerate() if t.name == "prefetch" and t.is_alive()]


def test_the_prefetching_thread_ends():
    stream = batches.prefetch(itertools.count())
    assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(prefetchers()) == 1
    stream.close()
    assert not prefetchers()
    stream = batches.prefetch(itertools.count())
    next(stream)
    del stream
    gc.collect()
    assert not prefetchers()
    assert list(batches.prefetch(range(10))) == list(range(10))
    assert not prefetchers()


def test_the_prefetching_thread_works_ahead_but_not_far():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    stream = batches.prefetch(items(), depth=3)
    next(stream)
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 5  # one taken, three ready, one in hand
    stream.close()


def test_errors_of_the_thread_are_raised_in_turn():
    def items():
        yield 1
        raise RuntimeError("broken")

    stream = batches.prefetch(items())
    assert next(stream) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(stream)
    assert not prefetchers()


def test_the_readers_cover_the_catalog():
    kinds = {e.files for e in catalog.DATASETS.values() if e.files}
    assert kinds == set(formats.READERS)
