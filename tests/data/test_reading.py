"""Reading prepared sets back, arrays, and crops."""

import fcntl
import io
import itertools
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxadv.data import (
    crops,
    records,
    sources,
)
from jaxadv.specs import UsageError
from tests.data.made import toy


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
