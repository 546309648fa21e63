"""Sets on object stores: what is copied, once, and what is told."""

import errno
import shutil
import sys

import fsspec
import numpy as np
import pytest
from PIL import Image

from jaxadv.data import catalog, prepare, sources
from jaxadv.files import remote
from jaxadv.specs import UsageError
from tests import processes
from tests.data.test_own_npz import IMAGES, LABELS, assert_holds, both, saved

STORE = fsspec.filesystem("memory")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache, and a store in memory that holds nothing."""
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    forget()
    yield tmp_path / "cache"
    STORE.store.clear()
    STORE.pseudo_dirs[:] = [""]


@pytest.fixture
def copied(monkeypatch):
    """The names of all files that are copied from the store in memory."""
    names, get = [], type(STORE).get_file

    def counted(self, path, *rest, **more):
        names.append(path)
        return get(self, path, *rest, **more)

    monkeypatch.setattr(type(STORE), "get_file", counted)
    return names


def forget():
    """What a new process begins with: it has looked at nothing."""
    remote.look.cache_clear()


def upload(folder, url):
    STORE.put(f"{folder}/", f"{url.removeprefix('memory:/')}/", recursive=True)


def tree(folder, classes="ab"):
    for split, label in ((s, c) for s in ("train", "test") for c in classes):
        (folder / split / label).mkdir(parents=True)
        for i in range(2):
            image = Image.new("RGB", (4, 4), (i * 50, ord(label), 9))
            image.save(folder / split / label / f"{i}.png")
    (folder / "train" / "a" / "notes.txt").write_text("no image")
    return folder


def same(one, other):
    ids = np.arange(len(one))
    assert len(one) == len(other) and one.class_names == other.class_names
    assert one.fingerprint == other.fingerprint
    for key, values in one.get(ids).items():
        np.testing.assert_array_equal(values, other.get(ids)[key])


# A file, and a tree ------------------------------------------------------------------


@pytest.mark.parametrize("place", ["name", "data_dir"])
def test_arrays_are_copied_once(tmp_path, copied, place):
    name = saved(tmp_path, **both())
    STORE.put(str(tmp_path / "set.npz"), "/bucket/sub/set.npz")
    given = {"name": ("npz:memory://bucket/sub/set.npz", None),
             "data_dir": ("npz:sub/set.npz", "memory://bucket/")}[place]  # fmt: skip
    for _ in range(3):
        for split in ("train", "test"):
            same(sources.load(given[0], split, given[1]), sources.load(name, split))
        forget()
    assert copied == ["/bucket/sub/set.npz"]


def test_another_file_under_the_same_name_is_copied_anew(tmp_path, copied):
    for images in (IMAGES, IMAGES[::-1]):
        saved(tmp_path, images=images, labels=LABELS)
        STORE.put(str(tmp_path / "set.npz"), "/bucket/set.npz")
        assert_holds(sources.load("npz:memory://bucket/set.npz", "train"),
                     images, LABELS)  # fmt: skip
        forget()
    assert len(copied) == 2


def test_a_tree_is_read_as_on_the_disk(tmp_path, copied):
    folder = tree(tmp_path / "birds")
    upload(folder, "memory://bucket/birds")
    for split in ("train", "test"):
        found = sources.load("folder:memory://bucket/birds", split)
        same(found, sources.load(f"folder:{folder}", split))
    assert len(copied) == len(set(copied)) == 8
    assert not any(name.endswith(".txt") for name in copied)


def test_an_image_that_was_removed_is_gone(tmp_path):
    upload(tree(tmp_path / "birds"), "memory://bucket/birds")
    assert len(sources.load("folder:memory://bucket/birds", "train")) == 4
    STORE.rm("/bucket/birds/train/a/1.png")
    forget()
    assert len(sources.load("folder:memory://bucket/birds", "train")) == 3


def test_a_process_sees_one_state(tmp_path):
    upload(tree(tmp_path / "birds"), "memory://bucket/birds")
    sources.load("folder:memory://bucket/birds", "train")
    STORE.rm("/bucket/birds/test/a/1.png")
    assert len(sources.load("folder:memory://bucket/birds", "test")) == 4


# Prepared sets -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shapes", "shapes/64", "tfds:shapes/64"])
def test_of_a_prepared_set_the_split_is_copied(few_shapes, copied, name):
    here = sources.load(name, "test", few_shapes)  # and decoded, which stays there
    upload(few_shapes, "memory://bucket/data")
    there = sources.load(name, "test", "memory://bucket/data")
    assert np.array_equal(here.get([0, 5])["mask"], there.get([0, 5])["mask"])
    size = name.partition("/")[2] or "32"
    assert all(f"/shapes/{size}/1.0.0/" in path for path in copied)
    if not name.startswith("tfds"):  # whose checksum is that of all files
        assert not any("-train.array_record" in path for path in copied)
        same(here, there)
    assert not any("/decoded/" in path for path in copied)
    forget()
    before = list(copied)
    sources.load(name, "test", "memory://bucket/data").get(np.arange(6))
    assert copied == before
    sources.load(name, "train", "memory://bucket/data")
    assert len(copied) == len(set(copied))


def test_the_checksum_of_a_prepared_set_is_that_of_the_original(few_shapes):
    upload(few_shapes, "memory://bucket/data")
    found = sources.load("tfds:shapes/64", "test", "memory://bucket/data")
    same(found, sources.load("tfds:shapes/64", "test", few_shapes))


def test_predicted_masks_come_along(few_shapes, tmp_path):
    upload(few_shapes, "memory://bucket/data")
    for path in ("train.npy", "test.npy", "test.json"):
        STORE.pipe(f"/bucket/data/shapes/32/1.0.0/masks/{path}", b"{}")
    folder = catalog.find("shapes", "memory://bucket/data", "test")
    assert {p.name for p in (folder / "masks").iterdir()} == {"test.npy", "test.json"}


def test_a_file_url_is_a_path(few_shapes, cache, tmp_path):
    same(sources.load("shapes", "test", f"file://{few_shapes}"),
         sources.load("shapes", "test", few_shapes))  # fmt: skip
    name = saved(tmp_path, **both())
    same(sources.load(f"npz:file://{tmp_path}/set.npz", "test"),
         sources.load(name, "test"))  # fmt: skip
    assert not cache.exists()


# What is told ------------------------------------------------------------------------


def test_where_nothing_lies(monkeypatch):
    with pytest.raises(UsageError, match="nothing at memory://bucket/x.npz; correct"):
        sources.check_name("npz:x.npz", "memory://bucket")
    with pytest.raises(UsageError, match="not prepared in memory://b: .*copy DIR/shap"):
        sources.load("shapes/64", "train", "memory://b")
    with pytest.raises(UsageError, match="not prepared in memory://b: .*copy DIR/cifa"):
        sources.load("cifar10", "train", "memory://b")
    for act in (prepare.prepare, lambda *given: catalog.root(given[1])):
        with pytest.raises(UsageError, match="where nothing is written; give a local"):
            act("shapes", "memory://b")
    monkeypatch.setenv("JAXADV_DATA_DIR", "memory://b")
    with pytest.raises(UsageError, match="not prepared in memory://b: "):
        sources.load("cifar10", "train")


def test_a_file_for_a_folder_and_a_folder_for_a_file(tmp_path):
    STORE.pipe("/bucket/a/set.npz", b"x")
    with pytest.raises(UsageError, match="memory://bucket/a/set.npz is no folder"):
        sources.load("folder:a/set.npz", "train", "memory://bucket")
    with pytest.raises(UsageError, match="memory://bucket/a is no file"):
        sources.load("npz:a", "train", "memory://bucket")


@pytest.mark.parametrize("scheme, told", [
    ("gs", "pip install gcsfs"), ("s3", "pip install s3fs"),
    ("az", "pip install adlfs"), ("nope", "Protocol not known: nope"),
])  # fmt: skip
def test_a_library_that_is_missing_is_named(scheme, told, monkeypatch):
    for module in ("gcsfs", "s3fs", "adlfs"):
        monkeypatch.setitem(sys.modules, module, None)
    url = f"{scheme}://bucket/data"
    for name in ("cifar10", "npz:a.npz", "folder:a", "tfds:a"):
        with pytest.raises(UsageError, match=f"{url}/.* cannot be read.*{told}"):
            sources.load(name, "train", url)


def test_what_a_store_raises_is_one_line(tmp_path, monkeypatch):
    STORE.pipe("/bucket/set.npz", b"x")

    def fail(*_, **__):
        raise RuntimeError("403 Forbidden\nmore")

    monkeypatch.setattr(type(STORE), "get_file", fail)
    with pytest.raises(
        UsageError, match=r"\(RuntimeError: 403 Forbidden\); check"
    ) as e:
        sources.load("npz:memory://bucket/set.npz", "train")
    assert "\n" not in str(e.value)


def test_a_copy_that_is_cut_short_is_not_kept(cache, monkeypatch):
    STORE.pipe("/bucket/set.npz", b"12345")

    def short(self, path, target, **_):
        with open(target, "wb") as file:
            file.write(b"123")

    monkeypatch.setattr(type(STORE), "get_file", short)
    with pytest.raises(
        UsageError, match="set.npz has 3 bytes in place of 5, so it has"
    ):
        sources.load("npz:memory://bucket/set.npz", "train")
    assert not [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_a_full_disk_is_told_before_anything_is_copied(monkeypatch, copied):
    STORE.pipe("/bucket/set.npz", b"12345")
    usage = shutil.disk_usage("/")._replace(free=4)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=f"MB are free; {remote.CACHE} names") as error:
        sources.load("npz:memory://bucket/set.npz", "train")
    assert error.value.errno == errno.ENOSPC and not copied


@pytest.mark.parametrize("name", ["a/../../evil.png", "a//b.png"])
def test_names_stay_below_their_folder(name, monkeypatch):
    STORE.pipe("/bucket/x/a/1.png", b"x")
    found = {f"/bucket/x/{name}": {"type": "file", "size": 1}}
    monkeypatch.setattr(type(STORE), "find", lambda *_, **__: found)
    with pytest.raises(UsageError, match="has a file of the name .*; rename it"):
        sources.load("folder:memory://bucket/x", "train")


# Real processes ----------------------------------------------------------------------

# fsspec's `local` is a store of files that this library takes for a remote one.
BOTH = """
import sys, time
from fsspec.implementations.local import LocalFileSystem

address, number, url = sys.argv[1:]
get = LocalFileSystem.get_file

def slow(self, source, *rest, **more):
    sys.stdout.write(f"copied {source}\\n")
    time.sleep(0.3)
    return get(self, source, *rest, **more)

LocalFileSystem.get_file = slow
from jaxadv.data import sources

print("images", len(sources.load("folder:birds", "train", url)))
"""


def test_processes_of_one_machine_copy_once(tmp_path):
    tree(tmp_path / "birds")
    with processes.started(BOTH, f"local://{tmp_path}") as started:
        ended = processes.ended(started)
    assert [status for status, *_ in ended] == [0, 0], ended
    told = [line for _, output, _ in ended for line in output.splitlines()]
    assert told.count("images 4") == 2
    names = [line for line in told if line.startswith("copied")]
    assert len(names) == len(set(names)) == 8
