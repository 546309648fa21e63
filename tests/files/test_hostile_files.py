"""Files made to do harm: each is refused in one line, soon and with little memory."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from jaxadv.data import formats
from jaxadv.evaluation.corruptions import sets
from jaxadv.evaluation.tools import study
from jaxadv.files import pickles
from jaxadv.specs import UsageError
from jaxadv.weights import torch_files
from jaxadv.weights.tensors import read
from tests.data.made import blank_digits, write_cifar10, write_idx, write_imagenet
from tests.weights.pickled import FloatStorage, Tensor, write_zip

MEMORY = 1 << 30
SECONDS = 60  # those that hung would not end at all


def refused(words, function, *arguments):
    """What a call says that must raise UsageError within bounds."""
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(UsageError) as error:
            function(*arguments)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(error.value)
    assert words in message and "\n" not in message and len(message) < 1000
    assert peak < MEMORY and time.monotonic() - start < SECONDS


def consume(path, reader, name):
    """Reads a data set to its last example."""
    contents = reader(path, name)
    for examples in contents.splits.values():
        for _ in examples():
            pass


# Pickles

TWICE = b"(" + b"I1\nI2\nt" + b"2\x86" * 60  # a tuple of twice a tuple of …, 60 deep
DEEP = b"I1\n" + b"\x85" * 100_000
KEYS = {
    "setitem": b"}" + TWICE[1:].replace(b"I1\nI2\nt", b"I1\nI2\n\x86") + b"I1\ns",
    "setitems": b"}((I1\nI2\nt" + b"2\x86" * 60 + b"I1\nu",
    "dict": b"((I1\nI2\nt" + b"2\x86" * 60 + b"I1\nd",
    "set": b"\x8f((I1\nI2\nt" + b"2\x86" * 60 + b"\x90",
    "frozenset": b"((I1\nI2\nt" + b"2\x86" * 60 + b"\x91",
    "deep": b"}" + DEEP + b"I1\ns",
    "pairs": b"ccollections\nOrderedDict\n((((I1\nI2\nt" + b"2\x86" * 60 + b"I1\ntltR",
}


def write_pickle(path, body):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x04" + body + b".")
    return path


@pytest.mark.parametrize("how", KEYS)
def test_a_key_that_takes_for_ever_to_hash(tmp_path, how):
    path = write_pickle(tmp_path / "x.pth", KEYS[how])
    refused("containers of containers as keys", read, path)


def test_a_storage_whose_name_takes_for_ever_to_write(tmp_path):
    body = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n(I1\nI2\nt" + b"2\x86" * 60
    path = write_pickle(tmp_path / "x.pth", body + b"I1\nI1\ntQ")
    refused("a storage has no name", read, path)


@pytest.fixture
def few_operations(monkeypatch):
    monkeypatch.setattr(pickles, "OPERATIONS", 20_000)


def test_more_objects_than_a_checkpoint_has(tmp_path, few_operations):
    many = b"(" + b"\x8f" * (pickles.OPERATIONS + 1) + b"l"
    path = write_pickle(tmp_path / "x.pth", many)
    refused("operations", read, path)


@pytest.mark.parametrize("place", [b"r\xff\xff\xff\x7f", b"p999999999999\n"])
def test_a_place_of_the_memo_takes_no_memory(tmp_path, place):
    path = write_pickle(tmp_path / "x.pth", b"}" + place)
    refused("no state dict", read, path)


def test_buffers_are_not_reserved_before_they_are_there(tmp_path):
    path = write_pickle(tmp_path / "x.pth", b"\x96" + struct.pack("<Q", 1 << 45))
    refused("damaged", read, path)


def test_a_tensor_that_repeats_a_number(tmp_path):
    tensor = Tensor(FloatStorage("0", 1), 0, (1 << 20, 1 << 20), (0, 0))
    path = write_zip(tmp_path / "x.pth", {"w": tensor}, {"0": np.ones(1, np.float32)})
    refused("repeats 1 numbers", read, path)
    few = Tensor(FloatStorage("0", 1), 0, (3, 2), (0, 0))
    write_zip(path, {"w": few}, {"0": np.ones(1, np.float32)})
    np.testing.assert_array_equal(read(path)["w"], np.ones((3, 2)))


def test_views_of_one_storage_share_its_numbers(tmp_path):
    numbers = np.arange(1 << 18, dtype=np.float32)
    storage = FloatStorage("0", numbers.size)
    views = {f"w{i}": Tensor(storage, i, (4,), (1,)) for i in range(2000)}
    path = write_zip(tmp_path / "x.pth", views, {"0": numbers})
    tracemalloc.start()
    found = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["w7"].tolist() == [7, 8, 9, 10] and peak < 1 << 26


def test_what_a_pickle_makes_it_cannot_change():
    """A dtype with a state of the pickle's own would be read as something else."""
    storage = torch_files.Storage("0", np.dtype(np.float32))
    tensor = torch_files.Tensor(storage, 0, (1,), (1,))
    for made in (storage, tensor):
        assert not hasattr(made, "__dict__") and not hasattr(made, "__setstate__")


def test_a_fifo_is_no_weight_file(tmp_path):
    os.mkfifo(tmp_path / "x.pth")
    refused("is no file", read, tmp_path / "x.pth")


# CIFAR


def cifar_files(folder):
    write_cifar10(folder, np.zeros((12, 32, 32, 3), np.uint8), np.zeros(12, int))


def read_cifar(path):
    consume(path, formats.read_cifar, "cifar10")


def zeros(total):
    """A gzip file of zero bytes, of which many fit in few."""
    return gzip.compress(bytes(1 << 24)) * (total >> 24)


def header(name, size, kind=tarfile.REGTYPE, target=""):
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, target
    return member.tobuf(tarfile.GNU_FORMAT)


def test_archives_that_unpack_to_gigabytes(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    large = 7 << 29
    for name, kind, words in (
        ("cifar-10-batches-py/data_batch_1", tarfile.REGTYPE, "data_batch_1 has"),
        ("cifar-10-batches-py/other", tarfile.REGTYPE, "unpacks to more than"),
        ("././@LongLink", tarfile.GNUTYPE_LONGNAME, "unpacks to more than"),
    ):
        path.write_bytes(gzip.compress(header(name, large, kind)) + zeros(large))
        refused(words, read_cifar, path)


def test_archives_of_very_many_files(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(gzip.compress(header("a", 0) * 50_000 + bytes(1024)))
    refused("more than 1000 files", read_cifar, path)
    names = header("././@LongLink", 2, tarfile.GNUTYPE_LONGNAME) + b"a".ljust(
        512, b"\0"
    )
    path.write_bytes(gzip.compress(names * 20_000))
    refused("cifar-10-python.tar.gz", read_cifar, path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("target", ["nowhere", "/etc/passwd", "test_batch"])
def test_links_in_archives_are_not_followed(tmp_path, kind, target):
    cifar_files(tmp_path / "from")
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted((tmp_path / "from").iterdir()):
            if file.name == "test_batch":
                member = tarfile.TarInfo(file.name)
                member.type, member.linkname = kind, target
                archive.addfile(member)
            else:
                archive.add(file, file.name)
    refused("there is no file test_batch in it", read_cifar, path)


def test_batches_that_are_no_arrays(tmp_path, few_operations):
    cifar_files(tmp_path)
    batch = tmp_path / "data_batch_2"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"
    shape = b"cnumpy\nndarray\n((I100000000000\nttR"
    kind = b"cnumpy\ndtype\n(U\x02O8I0\nI1\ntR"
    state = b"(I1\n(I1000000000\nt" + kind + b"I00\n]tb"
    for body, words in (
        (KEYS["setitem"], "containers of containers"),
        (b"}U\x04data" + shape + b"s", "data_batch_2"),
        (b"}U\x04data" + empty + state + b"s", "array of objects"),
        (b"}U\x06labels(I%d\nls" % 10**30, "data_batch_2"),
        (b"(" + b"]" * (pickles.OPERATIONS + 1) + b"l", "operations"),
    ):
        batch.write_bytes(b"\x80\x04" + body + b".")
        refused(words, read_cifar, tmp_path)


def test_labels_and_names_out_of_range(tmp_path):
    cifar_files(tmp_path)
    data = np.zeros((1, 3072), np.uint8)
    for label in (10**30, -1, 10):
        batch = pickle.dumps({b"data": data, b"labels": [label]}, protocol=2)
        (tmp_path / "test_batch").write_bytes(batch)
        refused("labels are not within 0..9", read_cifar, tmp_path)
    cifar_files(tmp_path)
    for names in (3, [3] * 10, [b"a"] * 9):
        (tmp_path / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}))
        refused("does not hold 10 label_names", read_cifar, tmp_path)


def test_files_that_are_none(tmp_path):
    cifar_files(tmp_path)
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)):
        (tmp_path / "test_batch").unlink()
        make(tmp_path / "test_batch")
        refused("test_batch: no regular file", read_cifar, tmp_path)
        if (tmp_path / "test_batch").is_dir():
            (tmp_path / "test_batch").rmdir()
            (tmp_path / "test_batch").touch()


# IDX


def test_digits_that_unpack_to_gigabytes(tmp_path):
    write_idx(tmp_path, *blank_digits(), zipped=True)
    start = gzip.compress(bytes((0, 0, 8, 3)) + struct.pack(">3I", 1 << 22, 28, 28))
    images = tmp_path / "train-images-idx3-ubyte.gz"
    images.write_bytes(start + zeros(7 << 29))
    refused("more than 64 MiB", consume, tmp_path, formats.read_idx, "mnist")


# Images


def chunk(kind, data):
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def png(width, height):
    """A PNG file whose header says this size; its pixels are a few zeros."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
IMAGES = {
    "huge": (png(60_000, 60_000), "3600000000 pixels"),
    "large": (png(10_000, 10_000), "10000 x 10000 pixels"),
    "short": (png(2_000, 2_000), "no image"),
    "empty": (b"", "no image"),
    "postscript": (POSTSCRIPT, "no image"),
}


@pytest.mark.parametrize("what", IMAGES)
def test_images_of_a_tree(tmp_path, what):
    data, words = IMAGES[what]
    wnid = write_imagenet(tmp_path, 100)[3]
    (tmp_path / "val" / wnid / "a.png").write_bytes(data)
    refused(words, consume, tmp_path, formats.read_imagenet, "imagenet100")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, "link"])
def test_what_is_no_image_file_in_a_tree(tmp_path, make):
    wnid = write_imagenet(tmp_path, 100)[3]
    path = tmp_path / "train" / wnid / "a.png"
    make(path) if callable(make) else path.symlink_to("nowhere")
    words = "a.png: no regular file"
    refused(words, consume, tmp_path, formats.read_imagenet, "imagenet100")


@pytest.mark.parametrize("what", IMAGES)
def test_images_of_a_study_and_of_corruptions(tmp_path, what):
    data, words = IMAGES[what]
    (tmp_path / "a.png").write_bytes(data)
    pair = {"original": "a.png", "adversarial": "a.png"}
    refused(words, study.measure, {"1": pair}, tmp_path, {})
    refused(words, sets._pixels, tmp_path / "a.png")


def test_a_fifo_in_place_of_what_a_study_reads(tmp_path):
    os.mkfifo(tmp_path / "x")
    refused("no regular file", study.read_answers, tmp_path / "x")
    refused("no regular file", study.read_pairs, tmp_path / "x")
    pair = {"original": "x", "adversarial": "x"}
    refused("no regular file", study.measure, {"1": pair}, tmp_path, {})


# Arrays of corrupted images


def npy(head):
    text = repr(head).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        npy({"descr": "|u1", "fortran_order": False, "shape": (1 << 44,)}),
        npy({"descr": "|O", "fortran_order": False, "shape": (1,)}) + b"cos\nsystem\n",
        npy({"descr": "|u1", "fortran_order": False, "shape": ()}) + b"1",
        b"",
        b"text",
    ],
    ids=["huge", "objects", "no axis", "empty", "text"],
)
def test_arrays_of_corruptions(tmp_path, data):
    np.save(tmp_path / "fog.npy", np.zeros((5, 2, 2, 1), np.uint8))
    (tmp_path / "labels.npy").write_bytes(data)
    refused("labels.npy", sets.open_folder, tmp_path, ("a", "b"))


def test_pickles_of_others_still_say_what_they_hold():
    stored = {"a": [1, 2.5, None, True], (1, "b"): {"c": b"x"}, 3: {4, 5}}
    for protocol in range(6):
        data = io.BytesIO(pickle.dumps({**stored, 3: "set"}, protocol))
        encoded = protocol < 3  # bytes are written as a call
        if encoded:
            with pytest.raises(pickle.UnpicklingError, match="asks to run"):
                pickles.Bounded(data).load()
        else:
            assert pickles.Bounded(data).load() == {**stored, 3: "set"}
    data = io.BytesIO(pickle.dumps(stored, 4))
    assert pickles.Bounded(data).load() == stored
