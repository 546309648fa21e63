"""One's own arrays, `npz:FILE`: what is read, and what is refused."""

import numpy as np
import pytest

from jaxadv.data import prepare, sources
from jaxadv.specs import UsageError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 4, 5, 3), np.uint8)
LABELS = np.arange(12) % 3


def saved(folder, name="set.npz", **arrays):
    np.savez(folder / name, **arrays)
    return f"npz:{folder / name}"


def both(**more):
    given = {"images": IMAGES, "labels": LABELS}
    return given | {"test_images": IMAGES[:6], "test_labels": LABELS[:6]} | more


def assert_holds(source, images, labels):
    got = source.get(np.arange(len(source)))
    assert np.array_equal(got["image"], images)
    assert np.array_equal(got["label"], labels) and got["label"].dtype == np.int32


def test_sizes_and_classes_are_read_from_the_file(tmp_path):
    name = saved(tmp_path, "my säts.npz", **both())
    train = sources.load(name, "train")
    assert train.image_shape == (4, 5, 3) and train.class_names == ("0", "1", "2")
    assert_holds(train, IMAGES, LABELS)
    assert_holds(sources.load(name, "test"), IMAGES[:6], LABELS[:6])
    named = sources.load(saved(tmp_path, **both(names=["a", "b", "ç", "d"])), "test")
    assert named.class_names == ("a", "b", "ç", "d")


def test_the_names_of_keras_and_medmnist_are_known(tmp_path):
    gray, column = IMAGES[..., 0], LABELS[:, None].astype(np.uint8)
    keras = {"x_train": gray, "y_train": column, "x_test": gray, "y_test": column}
    for split in ("train", "test"):
        source = sources.load(saved(tmp_path, **keras), split)
        assert source.image_shape == (4, 5, 1)
        assert_holds(source, gray[..., None], LABELS)
    pairs = {
        f"{s}_{k}": v
        for s in ("train", "val", "test")
        for k, v in (("images", IMAGES), ("labels", column))
    }
    for split in ("train", "validation", "test"):
        assert_holds(sources.load(saved(tmp_path, **pairs), split), IMAGES, LABELS)


@pytest.mark.parametrize("axes", [3, 4])
def test_masks_are_read_where_there_are_any(tmp_path, axes):
    masks = RNG.integers(0, 2, (12, 4, 5)).astype(bool)
    given = masks if axes == 3 else masks[..., None]
    name = saved(tmp_path, **both(masks=given, test_masks=given[:6]))
    for split, n in (("train", 12), ("test", 6)):
        got = sources.load(name, split).get(np.arange(n))["mask"]
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got[..., 0], masks[:n])
    assert "mask" not in sources.load(saved(tmp_path, **both()), "train").get(range(3))
    wrong = saved(tmp_path, "wrong.npz", **both(masks=given[:, :3]))
    with pytest.raises(UsageError, match=r"wrong.npz: masks: mask is bool \(12, 3, 5"):
        sources.load(wrong, "train")


def test_floats_stay_as_they_are(tmp_path):
    images = (IMAGES / 255).astype(np.float64)
    source = sources.load(saved(tmp_path, images=images, labels=LABELS), "train")
    assert_holds(source, images.astype(np.float32), LABELS)


def test_relative_paths_begin_at_data_dir_or_here(tmp_path, monkeypatch):
    saved(tmp_path, **both())
    assert len(sources.load("npz:set.npz", "train", tmp_path)) == 12
    with pytest.raises(UsageError, match="config.data.name: .*set.npz: No such file"):
        sources.load("npz:set.npz", "train", tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    assert len(sources.load("npz:set.npz", "train")) == 12
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(sources.load("npz:~/set.npz", "train", tmp_path / "other")) == 12


FLOATS = IMAGES.astype(np.float32)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"images": FLOATS, "labels": LABELS}, "divide by 255"),
        ({"images": FLOATS / 255 - 0.5, "labels": LABELS}, "undo the normalization"),
        ({"images": FLOATS / 255 / 255, "labels": LABELS}, "divided by 255 twice"),
        ({"images": IMAGES.astype(int), "labels": LABELS}, "convert them to uint8"),
        ({"images": IMAGES > 9, "labels": LABELS}, "convert them to uint8"),
        ({"images": IMAGES // 255, "labels": LABELS}, "multiply them by 255"),
        ({"images": IMAGES[:3], "labels": LABELS}, r"is \(3, 4, 5, 3\) for 12 labels"),
        ({"images": IMAGES[..., :2], "labels": LABELS}, "2 channels"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no examples"),
        ({"images": IMAGES, "labels": LABELS + 1}, "1 to 3, but none is 0; renumber"),
        ({"images": IMAGES, "labels": LABELS * 2}, "none is 1; renumber"),
        ({"images": IMAGES, "labels": np.eye(3)[LABELS]}, r"labels.argmax\(1\)"),
        ({"images": IMAGES, "labels": LABELS * 1.0}, "whole numbers"),
        ({"images": IMAGES, "labels": LABELS.astype(str)}, "stored as names"),
        ({"images": IMAGES}, "it has images, but no labels"),
        ({"pictures": IMAGES}, "it holds pictures; save images and labels by"),
        (both(x_train=IMAGES, y_train=LABELS), "both images and x_train; keep one"),
        (both(names=["a", "b"]), r"label 2 is not within 0\.\.1"),
        (both(names=np.arange(3)), "it must be texts"),
    ],
)
def test_other_contents_are_refused_in_one_line(tmp_path, arrays, message):
    with pytest.raises(UsageError, match=message) as told:
        sources.load(saved(tmp_path, **arrays), "train")
    assert "set.npz" in str(told.value) and "\n" not in str(told.value)


def test_labels_of_the_test_split_are_those_of_training(tmp_path):
    name = saved(tmp_path, **both(test_labels=LABELS[:6] + 1))
    with pytest.raises(UsageError, match=r"test: label 3 is not within 0\.\.2"):
        sources.load(name, "test")


def objects(path):
    np.savez(path, images=np.array([{}, []], object), labels=np.arange(2))


def cut(path):
    np.savez(path, **both())
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
    np.savez(path, **both())
    content = bytearray(path.read_bytes())
    content[400] ^= 16
    path.write_bytes(content)


def single(path):
    with open(path, "wb") as file:
        np.save(file, IMAGES)


@pytest.mark.parametrize("damage", [objects, cut, flipped, single])
def test_damaged_files_are_named(tmp_path, damage):
    damage(tmp_path / "set.npz")
    with pytest.raises(UsageError, match=r"set\.npz: .*numpy\.savez\(FILE") as told:
        sources.load(f"npz:{tmp_path / 'set.npz'}", "train")
    assert "\n" not in str(told.value)


def test_names_that_lead_nowhere_are_told(tmp_path):
    for name, message in [
        ("npz:", "give npz:FILE"),
        ("npz:  ", "give npz:FILE"),
        (f"npz:{tmp_path}", "but a folder"),
        ("hf:cifar10", "hf: is not read: save the set once"),
        ("nzp:x.npz", "unknown name 'nzp:x.npz'"),
    ]:
        for look in (sources.check_name, lambda n: sources.load(n, "train")):
            with pytest.raises(UsageError, match=message):
                look(name)


def test_bare_paths_are_told_their_kind(tmp_path):
    saved(tmp_path, **both())
    for path, kind in ((tmp_path / "set.npz", "npz"), (tmp_path, "folder")):
        with pytest.raises(UsageError, match=f"; give {kind}:{path}"):
            sources.check_name(str(path))
    with pytest.raises(UsageError, match="it needs no preparing"):
        prepare.prepare(f"npz:{tmp_path / 'set.npz'}", tmp_path / "to")


# A test split


def test_a_missing_test_split_is_told_with_its_remedies(tmp_path):
    name = saved(tmp_path, images=IMAGES, labels=LABELS)
    ways = "add test_images and test_labels to the file, or train with config.data.test"
    with pytest.raises(UsageError, match=f"no split 'test'; it has 'train': {ways}"):
        sources.load(name, "test")
    assert ways in sources.no_test(name) and name in sources.no_test(name)
    assert sources.no_test(saved(tmp_path, "b.npz", **both())) == ""
    assert sources.no_test("cifar10") == ""
    with pytest.raises(UsageError, match="no split 'validation'; it has 'train'$"):
        sources.load(name, "validation")


@pytest.mark.parametrize("size", [0.25, 3])
def test_a_test_split_is_carved_by_class_and_is_the_same_every_time(tmp_path, size):
    name = saved(tmp_path, images=IMAGES, labels=LABELS)
    parts = [sources.load(name, s, test=size) for s in ("train", "test")]
    assert [p.split for p in parts] == ["train", "test"]
    assert [np.bincount(p.labels).tolist() for p in parts] == [[3, 3, 3], [1, 1, 1]]
    images = [p.get(np.arange(len(p)))["image"] for p in parts]
    assert len({x.tobytes() for part in images for x in part}) == 12
    again = sources.load(name, "test", test=size)
    assert_holds(again, images[1], parts[1].labels)
    rest, held_out = sources.split_train_validation(parts[0], 3, seed=1)
    assert (rest.split, held_out.split, len(rest)) == ("train", "validation", 6)


def test_a_test_split_of_its_own_is_not_carved_again(tmp_path):
    with pytest.raises(UsageError, match="config.data.test is 0.2, but .* of its own"):
        sources.load(saved(tmp_path, **both()), "train", test=0.2)
    name = saved(tmp_path, images=IMAGES, labels=LABELS)
    for size in (12, 1.5, 0.01):
        with pytest.raises(UsageError, match=f"config.data.test is {size}"):
            sources.load(name, "test", test=size)


def test_the_fingerprint_is_that_of_the_bytes(tmp_path):
    def fingerprint(**arrays):
        return sources.load(saved(tmp_path, **arrays), "train").fingerprint

    first = fingerprint(**both())
    assert first == fingerprint(**both())
    changed = IMAGES.copy()
    changed[0, 0, 0, 0] ^= 1
    assert first != fingerprint(**both(images=changed))
    assert sources.from_arrays(IMAGES, LABELS).fingerprint is None


def test_labels_are_compared_before_they_could_wrap_around(tmp_path):
    labels = np.where(LABELS == 2, 2**32, LABELS).astype(np.int64)
    name = saved(tmp_path, **both(labels=labels, names=["a", "b", "c"]))
    with pytest.raises(UsageError, match="label 4294967296 is not within 0..2"):
        sources.load(name, "train")


def test_images_without_pixels_are_refused(tmp_path):
    name = saved(tmp_path, **both(images=IMAGES[:, :0]))
    with pytest.raises(UsageError, match="have no pixels"):
        sources.load(name, "train")
