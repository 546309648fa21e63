"""A shift of all logits, or another scale, makes another network of no attack.

Logits are whole sixteenths, whose differences stay what they are beside 1e6, and so
large that what float32 leaves of them there, two units of 1 / 16 each, is little.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import ATTACKS, Corrupt
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.objectives import Margin, cross_entropy
from jaxadv.objectives.domains import Weighted
from tests import examples, nets

run = jax.jit(craft)
LINEAR = nets.linear(seed=3)
IMAGES, _ = nets.batch(6)
LABELS = nets.predicted(LINEAR, IMAGES)
SHIFTS = (1e3, -1e3, 1e6, -1e6)
SCALES = (1e-4, 1e4)


def _logits(variables, image, key):
    exact = 64 * (variables["w"] @ image.reshape(-1) + variables["b"])
    whole = exact + jax.lax.stop_gradient(jnp.round(16 * exact) / 16 - exact)
    return variables["scale"] * whole + variables["shift"]


def net(scale=1.0, shift=0.0):
    more = {"scale": jnp.float32(scale), "shift": jnp.float32(shift)}
    return Classifier.from_function(
        _logits, {**LINEAR.variables, **more}, features=nets._taps
    )


def attack(name, scale=1.0):
    """With a margin for its objective, and in the units of the logits what has them."""
    flat = name in ("carlini_wagner", "elastic_net")
    made = examples.attack(name, examples.threat(examples.threat_for(name)))
    objective = Margin(0.0) if flat else Margin()
    fields = {"objective": objective}
    if name == "min_max":
        fields = {"objective": Weighted(objective=objective)}
        fields["step_size"] = jnp.float32(made.step_size / scale / 64)
    for weight in ("first_constant", "first_lam", "lam"):
        if hasattr(made, weight):
            unit = 1 / scale / 64 if weight == "first_constant" else scale * 64
            fields[weight] = jnp.float32(unit)
    return made.replace(**fields)


def found(name, scale=1.0, shift=0.0):
    own = attack(name, scale)
    return run(own, net(scale, shift), jax.random.key(0), IMAGES, LABELS)


@pytest.mark.parametrize("name", ATTACKS)
def test_shifted_and_scaled_logits_are_attacked_alike(name):
    want = found(name)
    others = [found(name, shift=shift) for shift in SHIFTS]
    others += [found(name, scale=scale) for scale in SCALES]
    for got in others:
        np.testing.assert_array_equal(got.success, want.success)
        np.testing.assert_allclose(got.size, want.size, rtol=5e-3)


def test_corruptions_are_judged_alike():
    want, got = (
        run(Corrupt(steps=3), net(shift=shift), jax.random.key(0), IMAGES, LABELS)
        for shift in (0.0, 1e6)
    )
    np.testing.assert_array_equal(got.success, want.success)


def test_the_cross_entropy_keeps_its_digits_beside_a_shift():
    logits = jnp.array([0.25, -3.5, 4.0, -8.0])
    value = jax.value_and_grad(cross_entropy)
    for shift in SHIFTS:
        for got, want in zip(value(logits + shift, 2), value(logits, 2), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6)
