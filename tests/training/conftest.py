"""What the tests of training share."""

import pytest

from jaxadv.data import sources
from jaxadv.models import MODELS
from tests.training.small import Small, small_settings, small_source


@pytest.fixture
def small_config(monkeypatch):
    """A config of a tiny network on tiny data, and the source it trains on."""
    source = small_source(64)
    monkeypatch.setattr(sources, "load", lambda *_: source)
    monkeypatch.setitem(MODELS, "small", Small)
    return small_settings()
