"""Attack steps run in loops: what is compiled, and that it computes the same."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

from jaxadv.attacks import Ascent, CarliniWagner, Ppgd, Square
from jaxadv.craft import base as craft_base
from jaxadv.craft import craft
from jaxadv.numerics import loops
from jaxadv.threats import L2, Linf, LpipsBall
from tests import nets

KEY = jax.random.key(0)
IMAGES, LABELS = nets.batch(4)
PLAIN = "b01f_01io->b01f"


def lowered(attack, model=None):
    """The program of `craft` on four images, before any optimization."""
    model = nets.linear() if model is None else model
    return jax.jit(craft).lower(attack, model, KEY, IMAGES, LABELS).as_text()


def convolved(image, kernel, strides=(1, 1), numbers=None, groups=1):
    return lax.conv_general_dilated(
        image,
        kernel,
        strides,
        "SAME",
        dimension_numbers=numbers,
        feature_group_count=groups,
    )


def layouts(function, *args):
    """The orders of the operands of the convolutions that XLA is given."""
    text = jax.jit(function).lower(*args).as_text(dialect="hlo")
    return re.findall(r"dim_labels=(\S+?)[,\s]", text)


def draw(*shape):
    return jnp.asarray(
        np.random.default_rng(len(shape)).normal(size=shape), jnp.float32
    )


@pytest.mark.parametrize(
    "attack",
    [
        lambda n: Ascent(Linf(0.1), steps=n, rel_step_size=0.1, restarts=2),
        lambda n: Square(Linf(0.1), steps=n),
        lambda n: CarliniWagner(L2(1.0), rounds=n // 2, round_steps=5),
        lambda n: Ppgd(LpipsBall(0.5, cg_steps=n, bisection_steps=n), steps=n),
    ],
    ids=["pgd", "square", "carlini_wagner", "ppgd"],
)
def test_the_program_does_not_grow_with_the_steps(attack):
    few, many = (len(lowered(attack(n)).splitlines()) for n in (4, 160))
    assert abs(many - few) < 0.02 * few


def test_nor_with_the_restarts():
    few, many = (
        len(lowered(Ascent(Linf(0.1), rel_step_size=0.1, restarts=n)).splitlines())
        for n in (2, 40)
    )
    assert abs(many - few) < 0.02 * few


def test_the_default_steps_of_carlini_and_wagner_are_one_loop():
    attack = CarliniWagner(L2(1.0))
    assert attack.steps == 9010
    assert "9010" in lowered(attack)


def test_input_gradients_of_convolutions_have_the_fast_form_in_a_loop():
    kernel = draw(3, 3, 2, 2)

    @jax.jit
    def network(image):
        return convolved(image[None], kernel, numbers=("NHWC", "HWIO", "NHWC"))

    def gradient(image):
        return jax.grad(lambda x: jnp.sum(network(x) ** 2))(image)

    image = draw(8, 8, 2)
    assert layouts(gradient, image) == [PLAIN, "b01f_01oi->b01f"]
    in_loop = layouts(lambda x: loops.repeat(3, gradient, x), image)
    assert in_loop and set(in_loop) == {PLAIN}


def test_whatever_calls_the_convolutions():
    """Branches, loops, recomputed parts and functions with their own derivatives."""
    kernel = draw(3, 3, 2, 2)

    def layer(image):
        return 0.1 * convolved(image, kernel)

    @jax.custom_jvp
    def ruled(image):
        return layer(image)

    ruled.defjvp(lambda x, t: (layer(*x), layer(*t)))

    def body(image):
        image = lax.scan(lambda x, _: (layer(x), None), image, None, length=2)[0]
        image = lax.cond(jnp.sum(image) > 0, layer, jnp.cos, image)
        image = jax.checkpoint(layer)(image)
        image = lax.while_loop(lambda x: jnp.sum(x) > 9, layer, image)
        return jax.vmap(ruled)(image[None])[0]

    image = draw(1, 3, 6, 6)
    traced = jax.make_jaxpr(body)(image)
    found = loops.canonical(traced)
    assert len(layouts(body, image)) == 5
    assert set(layouts(jaxpr_as_fun(found), image)) == {PLAIN}
    looped = loops.repeat(2, body, image)
    np.testing.assert_allclose(looped, body(body(image)), atol=1e-5)


@pytest.mark.parametrize(
    ("image", "kernel", "how"),
    [
        ((2, 7, 4), (3, 4, 2), ((2,), ("NHC", "HIO", "NHC"), 1)),
        ((4, 6, 5, 2), (3, 2, 3, 4), ((1, 1), ("CHWN", "OHWI", "HWNC"), 1)),
        ((2, 4, 6, 6), (6, 2, 3, 3), ((2, 1), None, 2)),
        ((1, 2, 4, 3, 5), (2, 2, 1, 2, 3), ((1, 2, 1), None, 1)),
    ],
)
def test_every_convolution_keeps_its_values_and_derivatives(image, kernel, how):
    image, kernel = draw(*image), draw(*kernel)

    def loss(image, kernel):
        return jnp.sum(jnp.sin(convolved(image, kernel, *how)))

    def rewritten(image, kernel):
        traced = jax.make_jaxpr(jax.value_and_grad(loss, (0, 1)))(image, kernel)
        return jaxpr_as_fun(loops.canonical(traced))(image, kernel)

    expected = jax.tree.leaves(jax.value_and_grad(loss, (0, 1))(image, kernel))
    for got, wanted in zip(rewritten(image, kernel), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_a_loop_gives_what_the_steps_give_one_by_one():
    attack = Ascent(Linf(0.1), steps=5, rel_step_size=0.3)
    model = nets.conv()

    @jax.jit
    def one_by_one(model, images, labels):
        def one(image, label, example):
            key = jax.random.fold_in(jax.random.key_data(KEY), example)
            own = craft_base.bound(attack, 0, model, key, image, label)
            state = own.init(jax.random.fold_in(key, 0), model, image, label)
            for _ in range(attack.steps):
                state = own.step(state, model, image, label)
            return craft_base.verified(own, state, model, image, label)

        return jax.vmap(one)(images, labels, jnp.arange(len(images)))

    steps = one_by_one(model, IMAGES, LABELS)
    loop = jax.jit(craft)(attack, model, KEY, IMAGES, LABELS)
    assert np.array_equal(steps.success, loop.success)
    np.testing.assert_allclose(steps.image, loop.image, atol=1e-5)


def test_keys_and_no_steps_at_all():
    def body(carry):
        key, total = carry
        key, own = jax.random.split(key)
        return key, total + jax.random.normal(jax.random.fold_in(KEY, 1)) + own.size

    start = KEY, jnp.zeros(())
    assert loops.repeat(0, body, start)[1] == 0
    assert loops.repeat(2, body, start)[0] == body(body(start))[0]


def test_a_repetition_can_be_differentiated():
    def cubed(x):
        return loops.repeat(2, lambda y: y * x, x)

    assert jax.grad(cubed)(2.0) == 12.0
