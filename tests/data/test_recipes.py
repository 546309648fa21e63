"""What every training config says and what its training then does."""

import importlib
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from jaxadv.data import augment, batches, prepare, sources
from jaxadv.training import settings
from jaxadv.training.data import load_data
from tests.paths import ROOT

CONFIGS = {
    path.stem: f"configs.{path.parent.name}.{path.stem}"
    for path in sorted((ROOT / "configs").glob("*/[a-z]*.py"))
    if path.parent.name != "suites"
}
SIZES = {
    "imagenet10": (224, 224),
    "segment6": (32, 32),
    "stl10": (96, 96),
    "mnist5k": (28, 28),
    "mnist": (28, 28),
    "cifar10": (32, 32),
    "cifar100": (32, 32),
    "shapes": (32, 32),
}
PICTURE = (120, 160)
LOW, HIGH = 64 / 255, 191 / 255  # of the ramp, away from black and white
COLORS = (augment.ColorJitter, augment.Lighting)


def load(name):
    return importlib.import_module(CONFIGS[name]).get_config()


def kept_of(name):
    """The mean share of an image's area that the recipe of a config leaves."""
    if name.startswith("imagenet100"):
        return rectangles()
    if name.startswith("cifar10") and name != "cifar10_minmax":
        # A shift of -4 to 4, each as likely, on both sides: 20 / 9 pixels are lost.
        return ((32 - 20 / 9) / 32) ** 2
    return 1.0


def rectangles():
    """Rectangles of 8 to 100 % of a 4:3 picture, 3:4 to 4:3, where they fit."""
    rng = np.random.default_rng(0)
    area = rng.uniform(0.08, 1, 100_000)
    ratio = np.exp(rng.uniform(-np.log(4 / 3), np.log(4 / 3), 100_000))
    width, height = np.sqrt(area * ratio * 3 / 4), np.sqrt(area / ratio * 4 / 3)
    return area[(width <= 1) & (height <= 1)].mean()


def mark(height, width):
    """An image [h, w, 3]: red grows downward, green to the right, and blue is 1."""
    down, right = (np.linspace(LOW, HIGH, n, dtype=np.float32) for n in (height, width))
    planes = [*np.meshgrid(down, right, indexing="ij"), np.ones((height, width))]
    return np.stack(planes, -1).astype(np.float32)


def kept(images, height, width):
    """[n] the share of a marked image's area that images [n, h, w, 3] show."""
    inside = images[..., 2:] > 0.98  # not padding
    seen = np.where(inside, images[..., :2], np.nan)
    span = np.nanmax(seen, (1, 2)) - np.nanmin(seen, (1, 2))
    sides = np.array([height, width])
    return np.prod((span / (HIGH - LOW) * (sides - 1) + 1) / sides, axis=1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of prepared ImageNet-100 whose pictures are marks."""
    folder = tmp_path_factory.mktemp("imagenet")
    pixels = np.round(255 * mark(*PICTURE)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=100, subsampling=0)
    for part, i in itertools.product(("train", "val"), range(100)):
        place = folder / "from" / part / f"n{i:08d}"
        place.mkdir(parents=True)
        for k in range(3 if part == "train" else 1):
            (place / f"n{i:08d}_{k}.JPEG").write_bytes(file.getvalue())
    prepare.prepare("imagenet100", folder / "to", folder / "from")
    return folder / "to"


def trained_on(config):
    """What a training sees in its first epoch, but for colors: [n, h, w, c]."""
    plan = settings.plan(config)
    data = load_data(config, plan.augmentations)
    moves = [a for a in data.augmentations if not isinstance(a, COLORS)]
    ids = np.arange(len(data.train), dtype=np.int32)
    images = batches.to_float(data.train.get(ids, draw=(config.seed, 0))["image"])
    return np.asarray(augment.chain(moves)(config.seed, 0, ids, images)[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_as_much_of_an_image_is_left_as_the_recipe_says(name, pictures, monkeypatch):
    """A marked image goes the whole way, from the file to the training step."""
    config, whole = load(name), sources.load
    config.data.validation = 0
    for attack in (config.attack, config.validation.attack):
        if attack and "network" in attack.threat:  # a file of weights
            with config.unlocked():
                attack.threat.network = None
    if config.data.name == "imagenet100":
        size, config.data.data_dir = PICTURE, str(pictures)

        def marks(*args, **kwargs):
            return whole(*args, image_size=64, **kwargs)
    else:
        size = SIZES[config.data.name]
        images = np.tile(mark(*size), (200, 1, 1, 1))
        source = sources.from_arrays(images, np.arange(200, dtype=np.int32) % 10)

        def marks(*args, **kwargs):
            return source

    monkeypatch.setattr(sources, "load", marks)
    shares = kept(trained_on(config), *size)
    assert np.mean(shares) == pytest.approx(kept_of(name), abs=0.04)


@pytest.mark.parametrize("name", CONFIGS)
def test_batches_suit_several_devices(name):
    """4 and 8 devices share a batch; validation fits where training does."""
    config = load(name)
    assert config.batch_size % 8 == 0
    if "_pat_" in name and config.model.name.startswith("resnet50"):
        assert config.validation.batch_size <= config.batch_size


def test_perceptual_training_augments_as_its_authors_do():
    def named(name):
        return {a["name"]: a for a in map(dict, load(name).data.augment)}

    for name, amount in (("cifar10", 0.25), ("imagenet100", 0.1)):
        for network in ("self", "alexnet"):
            found = named(f"{name}_pat_{network}")
            jitter = found["color_jitter"]
            parts = ("brightness", "contrast", "saturation")
            assert [jitter[part] for part in parts] == [amount] * 3
    assert found["lighting"]["std"] == 0.05 and "rotate" not in found
    assert named("cifar10_pat_self")["rotate"]["degrees"] == 2
