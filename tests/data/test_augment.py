"""Augmentations against closed forms, and what their randomness depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv import specs
from jaxadv.data import augment

IMAGE = np.random.default_rng(0).random((8, 6, 3), np.float32)
BATCH = np.random.default_rng(1).random((6, 8, 6, 3), np.float32)
IDS = np.array([3, 0, 41, 7, 9, 1000])


N = 200


@jax.jit
def all_draws(augmentation, image):
    keys = jax.random.split(jax.random.key(0), N)
    return jax.vmap(augmentation, (0, None))(keys, image)


def draws(augmentation, image):
    """The results of `augmentation` under N keys, [N, h, w, c]."""
    return np.asarray(all_draws(augmentation, image))


def built(name, **fields):
    return specs.build({"name": name, **fields}, augment.AUGMENTATIONS, "augment")


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_pad_crop_enumerates_all_windows(mode):
    p = 2
    border = ((p, p), (p, p), (0, 0))
    padded = np.pad(IMAGE, border, "constant" if mode == "zeros" else "reflect")
    windows = {
        padded[i : i + 8, j : j + 6].tobytes() for i in range(5) for j in range(5)
    }
    found = [x.tobytes() for x in draws(augment.PadCrop(p, mode), IMAGE)]
    assert set(found) == windows
    counts = np.unique(found, return_counts=True)[1]
    assert counts.max() <= 20  # 8 each, on average


def test_flip_mirrors_as_often_as_asked():
    mirrored = IMAGE[:, ::-1]
    found = draws(augment.Flip(), IMAGE)
    flipped = (found == mirrored).all((1, 2, 3))
    assert (flipped | (found == IMAGE).all((1, 2, 3))).all()
    assert 70 <= flipped.sum() <= 130
    assert (draws(augment.Flip(0.0), IMAGE) == IMAGE).all()
    always = draws(augment.Flip(1.0), IMAGE)
    assert (always == mirrored).all()
    assert (draws(augment.Flip(1.0), always[0]) == IMAGE).all()


def test_the_whole_rectangle_changes_nothing():
    whole = augment.ResizedCrop(min_area=1.0, max_ratio=1.0)
    assert np.allclose(draws(whole, IMAGE), IMAGE, atol=1e-6)


def test_resized_crop_reads_a_ramp_at_the_right_places():
    """Interpolation keeps a linear ramp linear, so it tells the rectangle."""
    size = 32
    y, x = np.mgrid[:size, :size] / size
    ramp = np.stack([y, x], -1).astype(np.float32)
    found = draws(augment.ResizedCrop(min_area=0.25, max_ratio=1.5), ramp)
    inner = found[:, 4:-4, 4:-4]  # off the border, which is continued
    down = np.diff(inner[..., 0], axis=1) * size
    across = np.diff(inner[..., 1], axis=2) * size
    sides = np.stack([down.mean((1, 2)), across.mean((1, 2))], -1)
    assert np.allclose(down, sides[:, 0, None, None], atol=1e-3)
    assert np.allclose(across, sides[:, 1, None, None], atol=1e-3)
    first = inner[:, 0, 0] + 0.5 / size - sides * 4.5 / size  # corner
    assert (sides <= 1 + 1e-3).all() and (first >= -1e-3).all()
    assert (first + sides <= 1 + 2e-3).all()
    area, ratio = sides.prod(-1), sides[:, 1] / sides[:, 0]
    free = (sides < 0.999).all(-1)  # sides cut to those of the image shrink it
    assert free.sum() > 100
    assert (area[free] >= 0.25 - 1e-3).all() and area.max() > 0.9
    assert (abs(np.log(ratio)) <= np.log(1.5) + 1e-3).all()
    assert ratio.min() < 0.8 and ratio.max() > 1.25
    assert first.max() > 0.3


def test_jitter_of_zero_changes_nothing():
    still = augment.ColorJitter(0.0, 0.0, 0.0)
    assert (draws(still, IMAGE) == IMAGE).all()
    assert (draws(still, IMAGE[..., :1]) == IMAGE[..., :1]).all()


def test_brightness_scales():
    dim = IMAGE * 0.5
    found = draws(augment.ColorJitter(0.5, 0.0, 0.0), dim)
    factors = found[:, :1, :1, :1] / dim[:1, :1, :1]
    assert np.allclose(found, factors * dim, atol=1e-6)
    assert 0.5 <= factors.min() < 0.6 and 1.4 < factors.max() <= 1.5


def gray_of(image):
    return image @ np.array([0.299, 0.587, 0.114], np.float32)


def test_contrast_keeps_the_mean_gray_and_scales_around_it():
    mild = 0.4 + 0.2 * IMAGE
    found = draws(augment.ColorJitter(0.0, 0.5, 0.0), mild)
    mean = gray_of(mild).mean()
    assert np.allclose(gray_of(found).mean((1, 2)), mean, atol=1e-5)
    factors = (found - mean)[:, 0, 0, 0] / (mild - mean)[0, 0, 0]
    expected = mean + factors[:, None, None, None] * (mild - mean)
    assert np.allclose(found, expected, atol=1e-5)
    assert factors.min() < 0.6 and factors.max() > 1.4


def test_saturation_keeps_the_gray_image():
    mild = 0.4 + 0.2 * IMAGE
    found = draws(augment.ColorJitter(0.0, 0.0, 1.0), mild)
    assert np.allclose(gray_of(found), gray_of(mild), atol=1e-5)
    spread = np.ptp(found, axis=-1).mean((1, 2)) / np.ptp(mild, axis=-1).mean()
    assert spread.min() < 0.1 and spread.max() > 1.9
    gray = mild[..., :1]
    unchanged = draws(augment.ColorJitter(0.0, 0.0, 1.0), gray)
    assert np.allclose(unchanged, gray, atol=1e-6)


def test_quarter_turns_are_exact():
    square = IMAGE[:6]
    for quarters in range(4):
        turned = augment.rotate(square, quarters * np.pi / 2)
        assert np.allclose(turned, np.rot90(square, quarters), atol=1e-5)


def test_rotation_is_within_its_angles():
    # A plane rises by its gradient; turned, the gradient turns with it.
    size = 17
    y, x = (np.mgrid[:size, :size] - 8) / 40
    plane = (0.5 + x)[..., None].astype(np.float32)
    found = draws(augment.Rotate(20.0), plane)[..., 0]
    # Within the circle that never leaves the image.
    along = (found[:, 8, 11] - found[:, 8, 5]) * 40 / 6
    across = (found[:, 5, 8] - found[:, 11, 8]) * 40 / 6
    angles = np.degrees(np.arctan2(across, along))
    assert -20.01 <= angles.min() < -15 and 15 < angles.max() <= 20.01
    assert np.allclose(draws(augment.Rotate(0.0), IMAGE), IMAGE, atol=1e-6)


@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_results_are_images(name, channels):
    extremes = np.round(IMAGE[..., :channels])
    for image in (IMAGE[..., :channels], extremes):
        found = draws(built(name), image)
        assert found.shape == (N, *image.shape) and found.dtype == np.float32
        assert found.min() >= 0 and found.max() <= 1
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ["pad_crop", "flip", "resized_crop", "rotate"])
def test_moving_pixels_cannot_change_a_constant_image(name):
    flat = np.full((8, 6, 3), 0.25, np.float32)
    spec = built(name, mode="reflect") if name == "pad_crop" else built(name)
    assert np.allclose(draws(spec, flat), 0.25, atol=1e-6)


@pytest.fixture(scope="module")
def everything():
    names = ["pad_crop", "flip", "resized_crop", "color_jitter", "rotate"]
    chain = augment.chain([built(name) for name in names])
    return jax.jit(lambda *rows: chain(*rows)[0])


def test_an_example_does_not_depend_on_its_batch_mates(everything):
    whole = np.asarray(everything(5, 2, IDS, BATCH))
    order = np.array([4, 2, 0, 5, 1, 3])
    shuffled = np.asarray(everything(5, 2, IDS[order], BATCH[order]))
    assert np.array_equal(shuffled, whole[order])
    alone = np.asarray(everything(5, 2, IDS[2:4], BATCH[2:4]))
    assert np.allclose(alone, whole[2:4], atol=1e-6)
    mates = np.roll(BATCH, 1, 0)
    mates[2] = BATCH[2]
    assert np.array_equal(np.asarray(everything(5, 2, IDS, mates))[2], whole[2])


def test_seed_epoch_and_id_each_change_the_draw(everything):
    same = np.broadcast_to(BATCH[:1], BATCH.shape)
    base = np.asarray(everything(5, 2, IDS, same))
    assert len({x.tobytes() for x in base}) == len(IDS)
    for other in (everything(6, 2, IDS, same), everything(5, 3, IDS, same)):
        assert (np.asarray(other) != base).any((1, 2, 3)).all()
    traced = everything(jnp.int32(5), jnp.int32(2), IDS, same)
    assert np.array_equal(traced, base)


def test_each_step_of_a_chain_draws_afresh():
    """Two crops by up to p shift by more than p together, now and then."""
    twice = augment.chain([augment.PadCrop(1), augment.PadCrop(1)])
    spot = np.zeros((200, 5, 5, 1), np.float32)
    spot[:, 2, 2] = 1
    found = np.asarray(jax.jit(twice)(0, 0, np.arange(200), spot)[0])[..., 0]
    assert np.allclose(found.sum((1, 2)), 1)
    rows = found.sum(2).argmax(1)
    assert set(rows) == {0, 1, 2, 3, 4}


def test_an_empty_chain_changes_nothing():
    assert np.array_equal(augment.chain([])(0, 0, IDS, BATCH)[0], BATCH)


def test_masks_move_with_what_they_mask(everything):
    """The mask of the bright pixels is that of the bright pixels afterwards."""
    bright = np.zeros((40, 8, 8, 1), np.float32)
    bright[:, 2:6, 1:5] = 1
    mask = bright.astype(np.uint8)
    names = ["pad_crop", "flip", "color_jitter", "resized_crop", "rotate"]
    chain = jax.jit(augment.chain([built(name) for name in names]))
    ids = np.arange(40)
    image, moved = chain(
        1, 0, ids, np.repeat(0.1 + 0.8 * bright, 3, -1), {"mask": mask}
    )
    moved = np.asarray(moved["mask"])
    assert moved.dtype == np.uint8 and set(np.unique(moved)) == {0, 1}
    assert np.any(moved != mask, axis=(1, 2, 3)).mean() > 0.8
    for one, own in zip(np.asarray(image)[..., 0], moved[..., 0], strict=True):
        inside, outside = one[own == 1], one[own == 0]
        if min(inside.size, outside.size) < 4:
            continue  # it has left the image, or fills it
        assert np.median(inside) > np.median(outside) + 0.2
        # Only pixels that were mixed at the edge are ever on the wrong side.
        middle = (one.max() + one.min()) / 2
        assert np.mean((one > middle) != (own == 1)) < 0.1
    # The image is what it is without a mask.
    plain, _ = chain(1, 0, ids, np.repeat(0.1 + 0.8 * bright, 3, -1), {})
    np.testing.assert_allclose(image, plain, atol=1e-6)


def test_an_augmentation_says_whether_masks_move_with_it():
    class Mirror:
        def __call__(self, key, image):
            return image[:, ::-1]

    chain = augment.chain([Mirror()])
    chain(0, 0, IDS, BATCH)
    with pytest.raises(
        specs.UsageError, match="Mirror does not say whether it moves pixels"
    ):
        chain(0, 0, IDS, BATCH, {"mask": np.ones((*BATCH.shape[:3], 1))})


@settings(deadline=None, max_examples=20)
@given(strength=st.floats(0, 1), seed=st.integers(0, 2**31 - 1))
def test_strengths_are_traced(strength, seed):
    found = jitter_once(augment.ColorJitter(strength, strength, strength), seed)
    assert found.min() >= 0 and found.max() <= 1
    assert jitter_once._cache_size() == 1


@jax.jit
def jitter_once(augmentation, seed):
    return augmentation(jax.random.key(seed), jnp.asarray(IMAGE))


@pytest.mark.parametrize(
    "spec, message",
    [
        ({"name": "pad_crop", "padding": -1}, "padding is -1; it must be >= 0"),
        ({"name": "pad_crop", "mode": "wrap"}, "allowed: 'zeros', 'reflect'"),
        ({"name": "flip", "probability": 1.5}, "it must be <= 1"),
        ({"name": "resized_crop", "min_area": 0.0}, "it must be >= 0.01"),
        ({"name": "resized_crop", "max_ratio": 0.5}, "it must be >= 1"),
        ({"name": "color_jitter", "contrast": -0.1}, "it must be >= 0"),
        ({"name": "rotate", "degrees": 200.0}, "it must be <= 180"),
        ({"name": "rotat"}, "did you mean 'rotate'"),
    ],
)
def test_bad_settings_are_told(spec, message):
    with pytest.raises(specs.UsageError, match=message):
        specs.build(spec, augment.AUGMENTATIONS, "augment")
