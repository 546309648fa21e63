"""Masks of a data set reach the threats that want them, wherever attacks are run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import evaluation
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.craft import craft, craft_batches
from jaxadv.defenses import Adversarial, Trades
from jaxadv.specs import UsageError
from jaxadv.threats import Linf, Masked
from tests import nets
from tests.defenses.test_defenses import entropies, evaluate, setup

KEY, COUNT = jax.random.key(3), 6
IMAGES, LABELS = nets.batch(COUNT)
MASKS = (np.random.default_rng(0).random((COUNT, *IMAGES.shape[1:3], 1)) < 0.4).astype(
    np.uint8
)
MODEL = nets.linear()
LABELS = nets.predicted(MODEL, IMAGES)


def masked(**fields):
    return Masked(Linf(0.02), Linf(0.3), **fields)


def pgd(threat):
    return Ascent(threat, steps=3, rel_step_size=0.5)


DATASET, GIVEN = pgd(masked(mask="dataset")), pgd(masked())


def check(images):
    """That foregrounds have changed by at most 0.02, backgrounds by more."""
    change = np.abs(np.asarray(images) - IMAGES)
    assert np.max(change * MASKS) <= 0.02 + 1e-6
    assert np.all(np.max(change * (1 - MASKS), axis=(1, 2, 3)) > 0.02)


@pytest.mark.parametrize("driver", [craft, craft_batches])
def test_a_feature_is_the_field_of_each_image(driver):
    masks = MASKS.astype(np.float32)
    given = driver(GIVEN, MODEL, KEY, IMAGES, LABELS, per_image={"threat.mask": masks})
    found = driver(DATASET, MODEL, KEY, IMAGES, LABELS, features={"mask": MASKS})
    np.testing.assert_array_equal(given.image, found.image)
    check(found.image)
    # What is given for each image comes first.
    both = driver(
        DATASET, MODEL, KEY, IMAGES, LABELS, per_image={"threat.mask": masks},
        features={"mask": 1 - MASKS},
    )  # fmt: skip
    np.testing.assert_array_equal(both.image, found.image)


def test_images_without_it_are_refused_by_name():
    words = (
        "threat.mask is the mask of each image in the data set, whose images have no"
    )
    for driver in (craft, craft_batches):
        with pytest.raises(UsageError, match=words):
            driver(DATASET, MODEL, KEY, IMAGES, LABELS)
    with pytest.raises(UsageError, match="Masked.where is 'dateset'; allowed"):
        masked(mask="dateset")
    assert masked(mask="central").where == "central"


@pytest.mark.parametrize("kind", [Adversarial, Trades])
def test_training_attacks_with_the_masks_of_its_batch(kind):
    params, state, batch = setup()
    masks = np.zeros((len(batch["label"]), *batch["image"].shape[1:3], 1), np.uint8)
    masks[:, :2] = 1
    loss = evaluate(kind((DATASET,)), params, state, {**batch, "mask": masks})[0]
    other = evaluate(kind((DATASET,)), params, state, {**batch, "mask": 1 - masks})[0]
    clean = np.mean(entropies(params, batch["image"], batch["label"]))
    assert float(loss) > clean and abs(float(loss) - float(other)) > 1e-4
    with pytest.raises(UsageError, match="have no mask"):
        evaluate(kind((DATASET,)), params, state, batch)


class Source:
    name, class_names = "made", tuple("abcdefghij"[: nets.CLASSES])

    def __init__(self, **features):
        self.features = features

    def __len__(self):
        return COUNT

    def get(self, ids):
        rows = {"image": IMAGES[ids], "label": LABELS[ids]}
        return rows | {name: value[ids] for name, value in self.features.items()}


def test_an_evaluation_reads_the_masks_of_its_images(tmp_path):
    threat = {
        "name": "masked", "mask": "dataset",
        "foreground": {"name": "linf", "eps": 0.02},
        "background": {"name": "linf", "eps": 0.3},
    }  # fmt: skip
    suite = {
        "attacks": {"dual": {"name": "pgd", "threat": threat, "steps": 3,
                             "rel_step_size": 0.5}},
        "examples": COUNT, "batch_size": 2, "checks": "none",
    }  # fmt: skip

    def run(folder, **features):
        evaluation.evaluate(
            MODEL, Source(**features), suite, folder, save_images="float32",
            show=lambda line: None,
        )  # fmt: skip
        with np.load(folder / "adversarial.npz") as stored:
            return stored["dual/image"]

    found = run(tmp_path / "a", mask=MASKS)
    check(found)
    other = run(tmp_path / "a", mask=1 - MASKS)  # the journal is of other masks
    assert np.any(other != found)
    with pytest.raises(UsageError, match="threat.mask is the mask of each image"):
        run(tmp_path / "b")
    assert jnp.all(found >= 0)
