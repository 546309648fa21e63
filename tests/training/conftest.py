"""What the tests of training share."""

import pytest

from jaxadv.data import sources
from jaxadv.models import MODELS
from jaxadv.training import settings
from tests.training.small import Small, small_source


@pytest.fixture
def small_config(monkeypatch):
    """A config of a tiny network on tiny data, and the source it trains on."""
    source = small_source(64)
    monkeypatch.setattr(sources, "load", lambda *_: source)
    monkeypatch.setitem(MODELS, "small", Small)
    config = settings.default_config()
    config.update({"epochs": 3, "batch_size": 16, "log_steps": 2})
    config.data.validation = 15
    config.model = {"name": "small", "norm": True}
    config.defense = {"name": "adversarial"}
    threat = {"name": "linf", "eps": 0.05}
    config.attack = {"name": "pgd", "threat": threat, "steps": 1, "rel_step_size": 1}
    config.validation.steps = 2
    config.optimizer.learning_rate = 0.05
    return settings.complete(config)
