"""Which epoch becomes the best checkpoint: none whose score means another thing."""

import json

import numpy as np
import pytest

from jaxadv import checkpoints
from jaxadv.attacks import Ascent, FastLpa
from jaxadv.data import sources
from jaxadv.specs import UsageError
from jaxadv.threats import Linf, LpipsBall, Shared
from jaxadv.threats.lpips import self_bounded
from jaxadv.training import loop, settings
from jaxadv.training.validation import Validator
from tests import nets

SELF = {"name": "fast_lpa", "threat": {"name": "lpips", "eps": 0.3}, "steps": 2}


@pytest.fixture
def train(monkeypatch, tmp_path):
    """`run(scores, **fields)`: the notes, and the best checkpoint's epoch and score."""
    rng = np.random.default_rng(0)
    images = rng.random((40, 4, 4, 1), np.float32)
    labels = np.arange(40, dtype=np.int32) % 3
    source = sources.from_arrays(images, labels)
    monkeypatch.setattr(sources, "load", lambda *_, **__: source)

    def run(scores, **fields):
        rest = iter(scores)
        monkeypatch.setattr(
            Validator, "__call__", lambda *_: {"robust": next(rest), "clean": 0.9}
        )
        config = settings.default_config()
        config.update({"epochs": len(scores), "batch_size": 16})
        config.data.validation = 8
        config.model = {"name": "mlp"}
        config.defense = {"name": "adversarial"}
        threat = {"name": "linf", "eps": 0.05}
        config.attack = {
            "name": "pgd", "threat": threat, "steps": 1, "rel_step_size": 1
        }  # fmt: skip
        config.validation.attack = fields.pop("validation", {})
        config.update(fields)
        notes = loop.run(settings.complete(config), tmp_path)
        info = checkpoints.load_classifier(tmp_path)[2]
        return notes, info["epoch"], info["score"]

    return run


def test_no_clean_epoch_is_the_best_of_adversarial_training(train):
    notes, epoch, score = train([0.6, 0.8, 0.3, 0.2], clean_epochs=2)
    assert (epoch, score) == (3, 0.3) and notes.best_robust == 0.3


def test_patience_waits_for_the_defense_and_then_counts(train):
    scores = [0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    notes, epoch, _ = train(scores, clean_epochs=3, patience=2)
    assert epoch == notes.best_epoch == 4
    assert notes.finished == "6 epochs"
    # Where all epochs are clean there is one phase.
    assert loop.Notes(best=0.5, best_epoch=1).take(2, {"clean": 0.4}, True) is False


def test_the_last_epoch_is_taken_where_the_ball_changes_with_the_network(train, capsys):
    _, epoch, score = train([0.6, 0.2, 0.1], validation=SELF)
    assert (epoch, score) == (3, 0.1)
    assert "last validation score 10.0% at epoch 3" in capsys.readouterr().out


def test_a_fixed_ball_still_selects(train):
    fixed = {"name": "pgd", "threat": {"name": "l2", "eps": 0.3}, "rel_step_size": 0.5}
    assert train([0.6, 0.2, 0.1], validation=fixed)[1:] == (1, 0.6)


def test_notes_of_an_older_run_let_go_of_its_clean_best():
    text = json.dumps({"best": 0.9, "best_epoch": 2, "best_robust": 0.9})
    notes = loop.Notes(**json.loads(text))
    notes.enter(5, warm_up=3)
    assert notes.take(5, {"robust": 0.1}, comparable=True) and notes.best_robust == 0.1


def test_patience_needs_scores_that_compare():
    config = settings.default_config()
    config.patience, config.attack = 3, SELF
    with pytest.raises(UsageError, match="config.patience is 3, but the validation's"):
        settings.plan(settings.complete(config))
    config.validation.attack = {
        "name": "fgsm", "threat": {"name": "linf", "eps": 0.1}
    }  # fmt: skip
    assert settings.plan(settings.complete(config)).comparable


def test_the_part_that_is_bounded_in_the_attacked_network_is_found():
    own, fixed = LpipsBall(0.3), LpipsBall(0.3, network=nets.linear())
    assert self_bounded(own) and self_bounded((Linf(0.1), FastLpa(own)))
    assert self_bounded(Shared(own))
    assert not self_bounded(fixed) and not self_bounded(FastLpa(fixed))
    assert not self_bounded((Ascent(Linf(0.1), rel_step_size=0.5),))
