"""Threats one after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import specs
from jaxadv.attacks import ATTACKS
from jaxadv.craft import craft
from jaxadv.specs import UsageError
from jaxadv.threats import Composed, Linf, Masked, ReColor, Shared, StAdv
from tests import nets

SHAPE = (5, 4, 3)
IMAGE = nets.batch(1, SHAPE)[0][0]
PARTS = (StAdv(0.3), ReColor(0.1, table=(3, 3, 3)), Linf(0.05))
SPEC = {
    "name": "composed",
    "parts": [
        {"name": "stadv", "eps": 0.3},
        {"name": "recolor", "eps": 0.1, "table": (3, 3, 3)},
        {"name": "linf", "eps": 0.05},
    ],
}


def test_flow_then_color_then_pixels():
    threat = Composed(PARTS)
    params = threat.init(jax.random.key(0), IMAGE)
    flowed = PARTS[0].apply(params[0], IMAGE)
    colored = PARTS[1].apply(params[1], flowed)
    want = PARTS[2].apply(params[2], colored)
    assert np.array_equal(threat.apply(params, IMAGE), want)
    # The pixels' ball and box are around what they perturb.
    assert PARTS[2].size(params[2], colored) <= 0.05 * (1 + 1e-6)
    assert np.abs(want - IMAGE).max() > 0.1
    assert np.isclose(threat.size(params, IMAGE), 1.0, atol=0.1)


def test_sizes_are_shares_and_budgets_a_tuple():
    threat = Composed(PARTS, eps=0.5)
    assert np.allclose(threat.budget, (0.15, 0.05, 0.025))
    params = jax.tree.map(jnp.zeros_like, threat.init(jax.random.key(0), IMAGE))
    colors = jnp.full((3, 3, 3, 3), 0.02)
    assert np.isclose(threat.size((params[0], colors, params[2]), IMAGE), 0.2)
    moved = jax.tree.map(lambda p: p + 1.0, params)
    projected = threat.project(moved, IMAGE)
    assert np.max(projected[1]) == np.float32(0.05)
    assert threat.size(projected, IMAGE) <= 0.5 * (1 + 1e-6)


def test_an_empty_part_uses_nothing():
    threat = Composed((Linf(0.0), Linf(0.1)))
    params = threat.init(jax.random.key(0), IMAGE)
    assert np.all(params[0] == 0) and 0.5 < threat.size(params, IMAGE) <= 1.0
    outside = (params[0] + 0.1, params[1])
    assert np.isinf(threat.size(outside, IMAGE))


def test_steps_are_relative_to_each_part():
    """From a config: a step of 0.1 is a tenth of each part's own budget."""
    attack = specs.build(
        {"name": "pgd", "threat": SPEC, "steps": 1, "rel_step_size": 0.1,
         "random_start": False, "keep": "last"}, ATTACKS, "attack",
    )  # fmt: skip
    model, (images, labels) = nets.linear(SHAPE), nets.batch(1, SHAPE)
    case = model, jnp.full(SHAPE, 0.5) + 0.1 * images[0], labels[0]
    state = attack.init(jax.random.key(0), *case)
    flow, colors, pixels = attack.step(state, *case).params
    assert np.isclose(np.abs(flow).max(), 0.03) and np.isclose(colors.max(), 0.01)
    assert np.allclose(np.abs(pixels), 0.005, atol=1e-6)


def test_more_parts_break_more():
    model, (images, _) = nets.linear(SHAPE), nets.batch(24, SHAPE)
    labels = nets.predicted(model, images)
    margins = []
    for parts in (PARTS[:1], PARTS[:2], PARTS):
        attack = ATTACKS["pgd"](Composed(parts), steps=10, rel_step_size=0.2)
        found = craft(attack, model, jax.random.key(0), images, labels)
        margins.append(np.mean(found.margin))
    assert margins[0] < margins[1] < margins[2]


def test_wrong_parts_are_refused():
    with pytest.raises(UsageError, match="must be a list of threats"):
        Composed(())
    with pytest.raises(UsageError, match="has a Masked, which is bound to the clean"):
        Composed((Masked(Linf(0.1), Linf(0.2)),))
    with pytest.raises(UsageError, match="Composed.parts has a Shared, .* no eps of"):
        Composed((Linf(0.1), Shared(Linf(0.1))))
