"""What XLA makes of a step: sums of an image are sums of a vector."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import numerics
from jaxadv.attacks import Apgd, ApgdL1, Ascent
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.numerics import hyperplane, projections
from jaxadv.threats import L0, L1, L2, Linf

SHAPE = (8, 6, 5, 3)
BALLS = {"l0": L0(4.0), "l1": L1(2.0), "l2": L2(1.0), "linf": Linf(0.1)}
NORMS = ("l1", "l2", "linf")


def folded(function, *args):
    """Reductions of the compiled program over several axes of an image's size."""
    text = jax.jit(function).lower(*args).compile().as_text()
    found = re.findall(r"\breduce\(.*dimensions=\{([\d,]+)\}", text)
    assert found or "fusion" in text
    return [axes for axes in found if "," in axes]


def image_function(name, norm):
    def call(x, low, high):
        if name == "project":
            return getattr(projections, f"project_{norm}")(x, 1.0, low, high)
        if name == "maximize":
            return projections.maximize_linear(x, norm, 1.0, low, high)
        if name == "onto":
            return hyperplane.step_onto(x[0, 0, 0], x, norm, low, high)
        return getattr(numerics, name)(x, norm)

    return jax.vmap(call)


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        *(
            (name, norm)
            for name in ("project", "maximize", "steepest")
            for norm in BALLS
        ),
        *((name, norm) for name in ("safe_norm", "safe_normalize") for norm in NORMS),
        *(("onto", norm) for norm in hyperplane.NORMS),
    ],
)
def test_functions_of_one_image(name, norm):
    x = jnp.ones(SHAPE)
    assert folded(image_function(name, norm), x, -x, x) == []


def test_what_is_not_hidden_is_folded():
    assert folded(jax.vmap(lambda x: jnp.sum(x.ravel())), jnp.ones(SHAPE))


@pytest.mark.parametrize("kind", [Ascent, Apgd])
@pytest.mark.parametrize("norm", BALLS)
def test_attacks(kind, norm):
    weights = np.ones((np.prod(SHAPE[1:]), 4), np.float32)
    model = Classifier.from_function(lambda w, x, key: x.ravel() @ w, weights)
    if kind is Apgd and norm == "l1":
        kind = ApgdL1
    images, labels = jnp.ones(SHAPE), jnp.zeros(SHAPE[0], int)
    fields = {"rel_step_size": 0.5} if kind is Ascent else {}
    attack = kind(BALLS[norm], steps=2, **fields)
    given = attack, model, jax.random.key(0), images, labels
    assert folded(craft, *given) == []
