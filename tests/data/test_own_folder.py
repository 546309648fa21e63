"""A tree of images, `folder:DIR`: what is read, and what is refused."""

import shutil

import numpy as np
import pytest
from PIL import Image

from jaxadv.data import crops, sources
from jaxadv.data.own import folders
from jaxadv.specs import UsageError

CLASSES = ("B", "a b", "ç")  # as Python sorts them


def pixels(seed, shape=(6, 5, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.squeeze()).save(path)


def tree(root, first=0, count=2, shape=(6, 5, 3)):
    """Writes images by class; the images [n, h, w, c] and labels in their order."""
    found = []
    for label, name in enumerate(CLASSES):
        for i in range(count):
            found.append(pixels(first + 10 * label + i, shape))
            write(root / name / f"{i}.png", found[-1])
    return np.stack(found), np.repeat(np.arange(3), count)


def assert_holds(source, images, labels):
    got = source.get(np.arange(len(source)))
    assert got["image"].dtype == np.uint8 and np.array_equal(got["image"], images)
    assert np.array_equal(got["label"], labels) and got["label"].dtype == np.int32


def load(root, split="train", **more):
    return sources.load(f"folder:{root}", split, **more)


@pytest.mark.parametrize("channels", [1, 3])
def test_one_folder_a_class(tmp_path, channels):
    root = tmp_path / "my ümages"
    images, labels = tree(root, shape=(6, 5, channels))
    (root / ".DS_Store").touch()
    (root / "README.txt").touch()
    (root / "B" / "Thumbs.db").touch()
    source = load(root)
    assert source.class_names == CLASSES and source.image_shape == (6, 5, channels)
    assert_holds(source, images, labels)


def test_one_colored_image_makes_all_colored(tmp_path):
    images, labels = tree(tmp_path, shape=(6, 5, 1))
    write(tmp_path / "B" / "more.png", pixels(1))
    source = load(tmp_path)
    assert source.image_shape == (6, 5, 3)
    got = source.get([0])["image"][0]
    assert np.array_equal(got, np.tile(images[0], (1, 1, 3)))


def test_images_may_lie_deeper_and_be_of_several_formats(tmp_path):
    tree(tmp_path)
    for suffix in (".JPG", ".jpeg", ".bmp", ".ppm", ".webp"):
        write(tmp_path / "B" / "deep" / "er" / f"x{suffix}", pixels(0))
    assert np.bincount(load(tmp_path).labels).tolist() == [7, 2, 2]


@pytest.mark.parametrize("val", [None, "val", "valid", "validation"])
@pytest.mark.parametrize("test", [True, False])
def test_splits_lie_in_folders_above_the_classes(tmp_path, val, test):
    wanted = {"train": tree(tmp_path / "train")}
    if val:
        wanted["validation"] = tree(tmp_path / val, 100, 1)
    if test:
        wanted["test"] = tree(tmp_path / "test", 200, 3)
    elif val:
        wanted["test"] = wanted["validation"]
    for split, (images, labels) in wanted.items():
        assert_holds(load(tmp_path, split), images, labels)
    if "test" not in wanted:
        ways = f"put test images into {tmp_path}/test/CLASS/, or train with config"
        with pytest.raises(UsageError, match=f"no split 'test'; .*: {ways}"):
            load(tmp_path, "test")


def test_a_class_may_be_called_train(tmp_path):
    tree(tmp_path)
    write(tmp_path / "train" / "0.png", pixels(7))
    source = load(tmp_path)
    assert source.class_names == ("B", "a b", "train", "ç")
    assert source.get([4])["image"].shape == (1, 6, 5, 3)
    ways = f"put test images into {tmp_path}/test/CLASS/ and the others into"
    assert ways in sources.no_test(f"folder:{tmp_path}")


def test_a_folder_of_a_split_beside_classes_is_no_class(tmp_path):
    tree(tmp_path)
    tree(tmp_path / "test")
    with pytest.raises(UsageError, match="test is the name of a split.*train/CLASS/"):
        load(tmp_path)


def test_links_to_folders_are_followed_once(tmp_path):
    tree(tmp_path / "set")
    before = len(load(tmp_path / "set"))
    write(tmp_path / "more" / "0.png", pixels(7))
    (tmp_path / "set" / "B" / "linked").symlink_to(tmp_path / "more")
    (tmp_path / "set" / "B" / "back").symlink_to(tmp_path / "set" / "B")
    assert len(load(tmp_path / "set")) == before + 1


def test_a_test_split_may_lack_a_class_but_have_no_other(tmp_path):
    tree(tmp_path / "train")
    images, labels = tree(tmp_path / "test", 100)
    shutil.rmtree(tmp_path / "test" / "B")
    source = load(tmp_path, "test")
    assert source.class_names == CLASSES
    assert_holds(source, images[2:], labels[2:])
    write(tmp_path / "test" / "d" / "0.png", pixels(0))
    with pytest.raises(UsageError, match="test/d: there are no training images of"):
        load(tmp_path, "test")


def test_a_test_split_is_carved_by_class(tmp_path):
    tree(tmp_path, count=4)
    parts = [load(tmp_path, s, test=0.25) for s in ("train", "test")]
    assert [np.bincount(p.labels).tolist() for p in parts] == [[3] * 3, [1] * 3]


def test_images_of_several_sizes_are_cut_to_squares_if_told(tmp_path):
    tree(tmp_path)
    write(tmp_path / "B" / "9.png", pixels(0, (4, 8, 3)))
    with pytest.raises(UsageError, match="9.png is 4 x 8, but .*B/0.png is 6 x 5; give "
                       "config.data.image_size"):  # fmt: skip
        load(tmp_path)
    got = load(tmp_path, image_size=4).get(np.arange(7))["image"]
    assert got.shape == (7, 4, 4, 3)
    assert np.array_equal(got[2], pixels(0, (4, 8, 3))[:, 2:6])  # no scaling
    small = tmp_path / "small"
    images, labels = tree(small, shape=(4, 4, 3))
    assert_holds(load(small, image_size=4), images, labels)


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (7, 13), (8, 8)])
def test_squares_are_from_the_middle_and_keep_the_aspect(size):
    """Of an image whose values grow to the right, as NumPy interpolates them."""
    ramp = np.linspace(0, 255, size[1])[None, :, None] * np.ones((size[0], 1, 3))
    image = Image.fromarray(ramp.round().astype(np.uint8))
    row = np.asarray(crops.square(image, 8))[4, :, 0].astype(float)
    scale = min(size) / 8
    center = size[1] / 2 - 0.5 + (np.arange(8) - 3.5) * scale
    expected = np.interp(center, np.arange(size[1]), ramp[0, :, 0])
    slack = 255 / size[1] * scale  # rounding to whole pixels, and the filter's width
    assert np.abs(row - expected).max() < slack


def test_large_sets_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    images, labels = tree(tmp_path)
    monkeypatch.setattr(folders, "_KEPT", 0)
    source = load(tmp_path)
    assert_holds(source, images, labels)
    write(tmp_path / "B" / "0.png", pixels(99))
    assert np.array_equal(source.get([0])["image"][0], pixels(99))
    (tmp_path / "ç" / "1.png").write_bytes(b"none")
    with pytest.raises(UsageError, match="ç/1.png: no image"):
        load(tmp_path)


def empty_class(root):
    (root / "B" / "0.png").unlink()
    (root / "B" / "1.png").unlink()
    return "B: there are no images in it"


def cut(root):
    file = root / "ç" / "1.png"
    file.write_bytes(file.read_bytes()[:-40])
    return r"ç/1\.png: no image"


def no_image(root):
    (root / "a b" / "0.png").write_text("hello")
    return r"a b/0\.png: no image"


def a_fifo(root):
    import os

    os.mkfifo(root / "B" / "x.png")
    return r"B/x\.png: no regular file"


def dangling(root):
    (root / "B" / "x.png").symlink_to(root / "nothing")
    return r"B/x\.png: no regular file"


def sixteen_bits(root):
    Image.fromarray(np.zeros((6, 5), np.uint16)).save(root / "B" / "x.png")
    return r"B/x\.png: it has more than 8 bits a channel"


def other_format(root):
    Image.fromarray(pixels(0)).save(root / "B" / "x.tiff")
    return r"B/x\.tiff: .tiff is not read; convert it"


def one_class(root):
    for name in CLASSES[1:]:
        shutil.rmtree(root / name)
    return "there is one folder, B, in it; put the images of each class"


def flat(root):
    for name in CLASSES:
        shutil.rmtree(root / name)
    write(root / "0.png", pixels(0))
    return "there are no folders in it; put"


@pytest.mark.parametrize(
    "damage",
    [empty_class, cut, no_image, a_fifo, dangling, sixteen_bits, other_format]
    + [one_class, flat],
)
@pytest.mark.parametrize("above", ["", "train"])
def test_damage_is_named_in_one_line(tmp_path, damage, above):
    tree(tmp_path / above)
    message = damage(tmp_path / above)
    if damage is flat and above:
        message = "there is one folder, train, in it"
    with pytest.raises(UsageError, match=message) as told:
        load(tmp_path)
    assert "\n" not in str(told.value)


def test_there_must_be_a_folder(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(UsageError, match="config.data.name: there is no folder"):
            sources.check_name(f"folder:{path}")


def test_the_fingerprint_is_that_of_names_and_bytes(tmp_path):
    root = tmp_path / "a"
    tree(root / "train")
    tree(root / "test", 100)
    first = load(root).fingerprint
    assert load(root, "test").fingerprint == first
    shutil.copytree(root, tmp_path / "b")
    assert load(tmp_path / "b").fingerprint == first
    (root / "test" / "B" / "0.png").rename(root / "test" / "B" / "2.png")
    assert load(root).fingerprint != first
    write(tmp_path / "b" / "test" / "B" / "0.png", pixels(9))
    assert load(tmp_path / "b").fingerprint != first
