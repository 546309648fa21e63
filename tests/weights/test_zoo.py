"""Public networks give the logits that PyTorch gives, layout by layout."""

import json

import numpy as np
import pytest

from jaxadv import weights
from jaxadv.weights.layouts import plain
from tests.paths import GOLDEN
from tests.weights import zoo

STORED = json.loads((GOLDEN / "zoo.json").read_text())


def test_every_layout_has_golden_logits():
    assert list(STORED) == list(zoo.CASES)
    # Those of AlexNet and VGG have references in NumPy: tests/models.
    assert {*zoo.CASES.values(), *plain.LAYOUTS} == set(weights.NAMES)


@pytest.mark.parametrize("case", zoo.CASES)
def test_logits_are_pytorch_s(case):
    module, variables = weights.convert(zoo.state(case), zoo.CASES[case])
    found = np.asarray(module.apply(variables, zoo.IMAGES))
    np.testing.assert_allclose(found, STORED[case], rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", zoo.CASES)
def test_pytorch_gives_the_golden_logits(case):
    pytest.importorskip("torch")
    found = zoo.in_torch(zoo.network(case), zoo.IMAGES)
    np.testing.assert_allclose(found, STORED[case], rtol=0, atol=1e-5)
