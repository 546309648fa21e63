"""Every held-out image counts once, and collapse is seen."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.data import sources
from jaxadv.threats.lp import Linf
from jaxadv.training import loop, validation
from jaxadv.training.validation import Validator
from tests.training.small import CLASSES, make_state, small_source


@pytest.mark.parametrize("count, batch_size", [(13, 8), (16, 500)])
def test_validation_counts_every_image_once(count, batch_size):
    state, images = make_state(), small_source(count).get(np.arange(count))["image"]
    labels = np.arange(count) % CLASSES
    # The first image, copies of which fill the last batch, is correct.
    labels[0] = np.argmax(
        state.network.module.apply({"params": state.params}, images[:1])
    )
    source = sources.from_arrays(images, labels)
    validator = Validator(state.network, (Fgsm(Linf(0.1)),), source, 0, batch_size)
    scores = validator(*state.evaluated)

    def logits(x):
        return state.network.module.apply({"params": state.params}, x)

    def hits(x):
        return np.argmax(logits(x), 1) == source.labels

    log_p = lambda x: jax.nn.log_softmax(logits(x))  # noqa: E731
    total = lambda x: -jnp.sum(log_p(x)[jnp.arange(count), source.labels])  # noqa: E731
    attacked = np.clip(images + 0.1 * np.sign(jax.grad(total)(images)), 0, 1)
    np.testing.assert_allclose(scores["clean"], hits(images).mean())
    expected = (hits(images) & hits(attacked)).mean()
    np.testing.assert_allclose(scores["robust"], expected)


def test_validation_takes_no_broken_margin_for_robust(monkeypatch):
    def broken(attack, model, key, images, labels, **given):
        margin = jnp.full(len(images), jnp.nan)
        return types.SimpleNamespace(success=margin >= 0, margin=margin)

    monkeypatch.setattr(validation, "craft", broken)
    state, source = make_state(), small_source(9)
    scores = Validator(state.network, (Fgsm(Linf(0.1)),), source, 0, 16)(
        *state.evaluated
    )
    assert scores["robust"] == 0.0


def test_collapse_is_told_from_a_bad_epoch():
    notes = loop.Notes(best_robust=0.45, last_clean=0.80)
    for robust, clean, expected in [
        (0.10, 0.85, True),
        (0.34, 0.75, True),
        (0.36, 0.85, False),  # within ten points
        (0.10, 0.60, False),  # the clean accuracy fell too
    ]:
        scores = {"robust": robust, "clean": clean}
        assert loop.collapsed(notes, scores) is expected
    assert not loop.collapsed(loop.Notes(), {"robust": 0.0, "clean": 0.9})
