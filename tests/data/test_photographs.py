"""Sets cut out of photographs: Segment-6 of COCO, and ten classes of ImageNet."""

import numpy as np
import pytest

from jaxadv.data import prepare, sources
from jaxadv.data.formats import coco, imagenet
from jaxadv.specs import UsageError
from tests.data.made import jpeg, write_coco

RED, BLUE = (200, 0, 0), (0, 0, 200)


def rectangle(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def photograph(*box, size=(48, 64)):
    """A blue photograph with a red rectangle."""
    pixels = np.tile(np.uint8(BLUE), (*size, 1))
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = RED
    return pixels


@pytest.fixture
def one_of_each(monkeypatch):
    for module in (coco, imagenet):
        monkeypatch.setattr(module, "COUNTS", {"train": 1, "test": 1})


@pytest.fixture
def wide(tmp_path):
    """Two photographs of each class; every object is 24 wide and 12 high."""
    made, box = [], (16, 8, 40, 20)
    for number, label in enumerate(coco.CLASSES * 2):
        part = "val2017" if number % 5 == 0 else "train2017"
        small, crowd = (rectangle(0, 0, 5, 5), rectangle(0, 0, 60, 40))
        objects = [
            ("clock" if label == "cat" else "cat", [small], 25, 0),
            (label, [rectangle(*box)], 288, 0),
            ("dog", [crowd], 2400, 1),
            ("person", [crowd], 2400, 0),
        ]
        made.append((part, 100 - number, photograph(*box), objects))
    made.append(("train2017", 7, photograph(*box), [("person", [[0] * 6], 9, 0)]))
    write_coco(tmp_path / "from", made)
    return tmp_path / "from"


def test_objects_of_coco_are_cut_out_with_their_masks(wide, tmp_path, one_of_each):
    prepare.prepare("segment6", tmp_path / "to", wide)
    for split in ("train", "test"):
        source = sources.load("segment6", split, tmp_path / "to")
        assert source.class_names == coco.CLASSES and len(source) == 6
        got = source.get(np.arange(6))
        assert sorted(got["label"]) == list(range(6))
        assert got["image"].shape == (6, 32, 32, 3)
        # The square is 24 x 24 from row 2 on: the object has half of its rows.
        rows = np.delete(np.arange(32), [7, 8, 23, 24])  # but for its outline
        inside = (rows > 8) & (rows < 23)
        found = got["mask"][..., 0][:, rows, 1:-1]
        np.testing.assert_array_equal(
            found, np.broadcast_to(inside[:, None], found.shape)
        )
        colors = got["image"][:, rows, 1:-1].astype(int)
        np.testing.assert_array_equal(colors[..., 0] > colors[..., 2], found)


def test_the_first_photographs_are_the_test_images(wide, one_of_each):
    contents = coco.read_segment6(wide, "segment6")
    names = {
        split: sorted(example["file_name"] for _, example in examples())
        for split, examples in contents.splits.items()
    }
    # Numbers fall from 100: the second photographs of the classes have the lower ones.
    assert names["test"] == [f"{n:012d}.png" for n in range(89, 95)]
    assert names["train"] == [f"{n:012d}.png" for n in range(95, 101)]


@pytest.mark.parametrize(
    "box, square",
    [
        ((0, 0, 10, 4), (0, 0, 10, 10)),
        ((60, 40, 4, 8), (56, 40, 64, 48)),
        ((0, 0, 64, 20), (8, 0, 56, 48)),  # no larger than the photograph
        ((20, 20, 0, 0), (19.5, 19.5, 20.5, 20.5)),
    ],
)
def test_the_square_lies_in_the_photograph(box, square):
    assert coco._square(box, 64, 48) == square


def test_too_few_objects_and_damage_are_told(wide, tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "COUNTS", {"train": 2, "test": 1})
    with pytest.raises(UsageError, match="2 photographs of a train, 3 are needed"):
        prepare.prepare("segment6", tmp_path / "to", wide)
    file = wide / "annotations" / "instances_val2017.json"
    file.write_text('{"images": [')
    with pytest.raises(UsageError, match="val2017.json: it holds no annotations"):
        prepare.prepare("segment6", tmp_path / "to", wide)
    file.unlink()
    with pytest.raises(UsageError, match="val2017.json: the file is missing"):
        prepare.prepare("segment6", tmp_path / "to", wide)
    assert not (tmp_path / "to").exists()


def test_ten_classes_of_imagenet(tmp_path, one_of_each):
    for part in ("train", "val"):
        for shade, wnid in enumerate(imagenet.TEN):
            place = tmp_path / "from" / part / wnid
            place.mkdir(parents=True)
            for k in range(2):
                data = jpeg((20 * shade, 100 * k, 128))
                (place / f"{wnid}_{k}.JPEG").write_bytes(data)
    prepare.prepare("imagenet10", tmp_path / "to", tmp_path / "from")
    test = sources.load("imagenet10", "test", tmp_path / "to")
    assert test.class_names[:2] == ("airplane", "car")
    got = test.get(np.arange(10))
    assert got["image"].shape == (10, 224, 224, 3)
    shades = got["image"][:, 0, 0].astype(int)
    assert np.all(np.abs(shades[:, 0] - 20 * got["label"]) <= 4)
    assert np.all(shades[:, 1] <= 4)  # the first of each class
    imagenet.COUNTS["test"] = 3
    with pytest.raises(UsageError, match="there are 2 images in it, 3 are needed"):
        prepare.prepare("imagenet10", tmp_path / "too_few", tmp_path / "from")
