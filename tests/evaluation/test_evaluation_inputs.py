"""Images, labels and logits that no table is made of, and sizes that are measured."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import evaluation
from jaxadv.classifier import Classifier
from jaxadv.evaluation.judging import judge
from jaxadv.specs import UsageError
from jaxadv.threats import L0, L1, L2, Linf
from tests import nets
from tests.evaluation.test_evaluation import (
    CONFIG,
    IMAGES,
    LABELS,
    Quiet,
    pgd,
    run,
    source,
)


def _nan_when_dark(variables, image, key):
    logits = nets._linear(variables, image, key)
    return jnp.where(jnp.min(image) < 0.1, jnp.nan, logits)


@pytest.mark.parametrize("when", ["clean", "attacked"])
def test_nan_logits_are_an_error_that_names_examples(tmp_path, when):
    images = 0.12 + 0.8 * IMAGES
    if when == "clean":
        images[[6, 7], 0, 0] = 0.05
    model = Classifier.from_function(_nan_when_dark, nets.linear().variables)
    labels = nets.predicted(nets.linear(), images)
    match = r"2 clean images .*examples 6, 7\)"
    if when == "attacked":
        match = r"30 adversarial images of 'pgd' .*examples 0, 1, 2, 3, 4, …\)"
    with pytest.raises(UsageError, match=match):
        evaluation.evaluate(
            model,
            source(images, labels),
            {**CONFIG, "attacks": {"pgd": pgd(random_start=True)}},
            tmp_path / "out",
            progress=Quiet,
        )
    assert not list(tmp_path.rglob("table.npz")) + list(tmp_path.rglob("report*"))
    assert (tmp_path / "out").exists() == (when == "attacked")  # the journal


def raw(images, labels):
    """A source that checks nothing."""
    return dataclasses.replace(
        source(), read=lambda ids, draw: {"image": images[ids], "label": labels[ids]}
    )


@pytest.mark.parametrize(
    "images, labels, match",
    [
        (IMAGES * 2 - 1, LABELS, r"30 images have values outside \[0, 1\]"),
        (np.where(IMAGES > 0.99, np.nan, IMAGES), LABELS, "or NaN"),
        (IMAGES.repeat(3, -1), LABELS, r"shape \(8, 8, 3\) do not fit"),
        (IMAGES[:, :7], LABELS, r"shape \(7, 8, 1\) do not fit"),
        (IMAGES[..., 0], LABELS, r"it must be \[h, w, c\]"),
        (IMAGES, LABELS + 3, "outside the model's 4 classes"),
        (IMAGES, LABELS - 4, "outside the model's 4 classes"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, images, labels, match):
    with pytest.raises(UsageError, match=match) as error:
        run(tmp_path / "out", data=raw(images, labels))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_network_of_other_channels_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"\(8, 8, 1\) do not fit.*model \(.*kernel"):
        run(tmp_path, model=nets.conv(shape=(8, 8, 3)).replace(mean=0.0, std=1.0))


def test_normalization_of_other_channels_is_refused_though_it_broadcasts(tmp_path):
    model = nets.linear(shape=(8, 8, 3)).replace(mean=jnp.zeros(3), std=jnp.ones(3))
    with pytest.raises(UsageError, match="have 1 channels.*normalization has 3"):
        run(tmp_path, model=model)


@pytest.mark.parametrize(
    "threat, expected",
    [(Linf(1.0), 0.5), (L2(1.0), 0.75), (L1(1.0), 1.25), (L0(9.0), 3)],
)
def test_sizes_are_measured_on_the_images(threat, expected):
    images = np.full((1, 2, 2, 2), 0.25, np.float32)
    image = images.copy()
    image[0, 0, 0, 0], image[0, 0, 0, 1], image[0, 1, 1, 0] = 0.75, 0.0, 0.75
    assert judge.measure(threat, images, image) == expected
    if isinstance(threat, L0):
        assert judge.measure(threat.replace(pixels=True), images, image) == 2
