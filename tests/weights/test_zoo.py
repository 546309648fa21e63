"""Public networks give the logits that PyTorch gives, layout by layout."""

import json
import re

import numpy as np
import pytest

from jaxadv import weights
from jaxadv.weights.layouts import convnext, plain, shift_tolerant, swin, vit
from tests.paths import GOLDEN, ROOT
from tests.weights import zoo

STORED = json.loads((GOLDEN / "zoo.json").read_text())


def test_every_layout_has_golden_logits():
    assert list(STORED) == list(zoo.CASES)
    # AlexNet and VGG have references in NumPy, those of ImageNet's size values of
    # torch (tests/models), shift-tolerant ones both (tests/perceptual).
    families = (plain, shift_tolerant, convnext, vit, swin)
    others = [name for family in families for name in family.LAYOUTS]
    assert {*zoo.CASES.values(), zoo.ELSEWHERE, *others} == set(weights.NAMES)


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


def table():
    """Architecture -> what the page names as normalizations of its networks."""
    page = (ROOT / "docs/data.md").read_text()
    found, archs = {}, []
    for line in page.partition("### Networks of others")[2].splitlines():
        if line.startswith("| ") and "---" not in line and "--arch" not in line:
            first, _, _, told = (cell.strip() for cell in line.strip("|").split("|"))
            archs = re.findall(r"`(\w+)`", first) or archs
            for arch in archs:
                found.setdefault(arch, []).extend(re.findall(r"`(\w+)`", told))
    return found


def test_the_page_names_every_architecture_and_its_normalization():
    found = table()
    assert set(found) == set(weights.NAMES)
    for arch, names in found.items():
        assert names and set(names) <= set(weights.NORMALIZATIONS), arch
