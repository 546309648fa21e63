"""Our own sets: the digits and the rendered shapes."""

import numpy as np
import pytest

from jaxadv.data import (
    rendering,
    sources,
)

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
