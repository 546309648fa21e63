"""Preparing sets from files: what is read, what damage is told."""

import itertools
import os
import pickle
import tarfile

import numpy as np
import pytest

from jaxadv.data import (
    catalog,
    formats,
    prepare,
    sources,
)
from jaxadv.specs import UsageError
from tests.data.made import (
    assert_holds,
    blank_digits,
    write_cifar10,
    write_cifar100,
    write_idx,
    write_imagenet,
)

RNG = np.random.default_rng(0)


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


def test_the_readers_cover_the_catalog():
    kinds = {e.files for e in catalog.DATASETS.values() if e.files}
    assert kinds == set(formats.READERS)
