"""Normalization, taps, keys, and weights that are inputs of a program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from jaxadv import struct
from jaxadv.attacks import Ascent
from jaxadv.classifier import Classifier, seen
from jaxadv.craft import craft, craft_batches
from jaxadv.evaluation.judging import inputs
from jaxadv.protocols import full_precision
from jaxadv.specs import UsageError
from jaxadv.threats import Linf
from tests import nets

KEY = jax.random.key(0)
PGD = Ascent(Linf(0.1), step_size=0.02, steps=1)


def test_normalizes_inside():
    plain = nets.linear()
    model = Classifier.from_function(nets._linear, plain.variables, 0.25, 0.5)
    image = nets.batch(1)[0][0]
    assert np.allclose(model(image), plain((image - 0.25) / 0.5), atol=1e-5)


def test_linen_agrees_with_the_module_and_has_taps():
    model = nets.conv()
    images, _ = nets.batch(3)
    want = nets.ConvNet().apply(model.variables, (images - 0.4) / 0.3, train=False)
    assert np.allclose(jax.vmap(model)(images), want, atol=1e-4)
    (tap,) = model.features(images[0])
    assert tap.shape == (8, 8, 4)


def test_one_program_serves_new_weights():
    run = jax.jit(lambda model, image: model(image))
    image = nets.batch(1)[0][0]
    first, second = (run(nets.conv(seed=s), image) for s in (0, 1))
    assert run._cache_size() == 1
    assert not np.allclose(first, second)


def test_a_stochastic_model_draws_from_its_key():
    model, image = nets.noisy(), nets.batch(1)[0][0]
    a, b, c = (model(image, jax.random.PRNGKey(s)) for s in (0, 0, 1))
    assert np.array_equal(a, b) and not np.allclose(a, c)


def test_linen_rngs_reach_the_module():
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            noise = jax.random.normal(self.make_rng("noise"), (x.shape[0], 3))
            return nn.Dense(3)(x.reshape(x.shape[0], -1)) + noise

    image = jnp.ones((4, 4, 1))
    keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    variables = Noisy().init(keys, image[None])
    model = Classifier.from_linen(Noisy(), variables, rngs=("noise",))
    a, b = (model(image, jax.random.PRNGKey(s)) for s in (0, 1))
    assert not np.allclose(a, b)


def test_logits_are_float32():
    model = Classifier.from_function(
        lambda v, x, key: (x.reshape(-1)[:3] * v).astype(jnp.bfloat16), 2.0
    )
    assert model(jnp.ones((2, 2, 1))).dtype == jnp.float32


def _convolutions(function, image):
    return str(jax.make_jaxpr(jax.grad(function))(image)).count("conv_general_dilated[")


def test_a_seen_image_goes_forward_and_back_once_for_logits_and_taps():
    model, image = nets.conv(), nets.batch(1)[0][0]

    def both(model, image):
        return model(image)[0] + jnp.sum(model.features(image)[0] ** 2)

    def once(image):
        return both(seen(model, image), image)

    want = jax.grad(lambda x: both(model, x))(image)
    assert np.allclose(jax.grad(once)(image), want, rtol=1e-5)
    logits_alone = _convolutions(lambda x: model(x)[0], image)
    assert _convolutions(once, image) == logits_alone > 0
    assert _convolutions(lambda x: both(model, x), image) > logits_alone


def test_another_image_is_not_taken_for_the_seen_one():
    model, images = nets.conv(), nets.batch(2)[0]
    known = seen(model, images[0])
    assert np.array_equal(known(images[1]), model(images[1]))
    assert np.array_equal(known.features(images[1])[0], model.features(images[1])[0])


def test_what_a_look_would_change_stays_unseen():
    conv, image = nets.conv(), nets.batch(1)[0][0]
    random = Classifier.from_linen(nets.ConvNet(), conv.variables, rngs=("noise",))
    for model in (nets.noisy(), random, (conv, conv)):
        assert seen(model, image) is model


def test_full_precision_of_one_network_and_of_an_ensemble():
    half, plain, image = nets.half(), nets.linear(), nets.batch(1)[0][0]
    exact = half.full_precision()(image)
    assert not np.array_equal(half(image), exact)
    assert np.array_equal(full_precision(half)(image), exact)
    first, second = full_precision((half, plain))
    assert np.array_equal(first(image), exact) and second is plain


OUTPUTS = {
    "scalar": (lambda z: z[0], r"logits of shape \(\); .* give \[0, z\]"),
    "one logit": (lambda z: z[:1], r"logits of shape \(1,\); .* give \[0, z\] for one"),
    "batched": (lambda z: z[None], r"logits of shape \(1, 4\); .* as logits\[0\]"),
    "tuple": (lambda z: (z, z), "the network returns a tuple; .* logits"),
    "dict": (lambda z: {"logits": z}, "the network returns a dict; .* logits"),
}


def _of_linen(change):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            logits = nn.Dense(4)(x.reshape(len(x), -1))
            return jax.vmap(change)(logits)

    variables = Net().init(jax.random.key(0), jnp.zeros((1, *nets.SHAPE)))
    return Classifier.from_linen(Net(), variables)


def _of_function(change):
    plain = nets.linear()
    return Classifier.from_function(
        lambda v, x, key: change(nets._linear(v, x, key)), plain.variables
    )


def _of_nnx(change):
    graph, state = nnx.split(nnx.Linear(64, 4, rngs=nnx.Rngs(0)))
    return Classifier.from_function(
        lambda s, x, key: change(nnx.merge(graph, s)(x.reshape(-1))), state
    )


def _of_equinox(change):
    """A model that is a pytree and is called itself, as equinox's are."""

    @struct.dataclass
    class Net:
        weight: jax.Array

        def __call__(self, x):
            return change(self.weight @ x.reshape(-1))

    return Classifier.from_function(lambda m, x, key: m(x), Net(jnp.ones((4, 64))))


MAKERS = {
    "linen": _of_linen,
    "function": _of_function,
    "nnx": _of_nnx,
    "equinox": _of_equinox,
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_logits_are_one_number_for_each_class(maker, output):
    change, words = OUTPUTS[output]
    model, images = MAKERS[maker](change), nets.batch(2)[0]
    looks = (
        lambda: model(images[0]),
        lambda: jax.vmap(model)(images),
        lambda: seen(model, images[0]),
        lambda: craft_batches(PGD, model, KEY, images, np.zeros(2, int)),
        lambda: jax.eval_shape(craft, PGD, model, KEY, images, np.zeros(2, int)),
        lambda: inputs.check_fit(model, {"image": images}),
    )
    for look in looks:
        if look is looks[2] and maker != "linen":
            continue  # only of linen is a look kept
        with pytest.raises(UsageError, match=words) as error:
            look()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("maker", MAKERS)
def test_two_logits_are_enough(maker):
    model = MAKERS[maker](lambda z: jnp.stack([jnp.zeros(()), z[0]]))
    image = nets.batch(1)[0][0]
    assert model(image).shape == (2,) and model(image)[0] == 0
    assert inputs.check_fit(model, {"image": image[None]}) == 2


@pytest.mark.parametrize(
    "field, value", [("std", 0.0), ("std", -1.0), ("mean", np.nan)]
)
def test_normalization_is_by_finite_numbers(field, value):
    with pytest.raises(UsageError, match=f"{field} is {value}; it must be finite"):
        Classifier.from_function(nets._linear, {}, **{field: value})


def test_it_is_printed_in_a_line():
    model = nets.linear((4, 4, 3), 3)
    assert len(repr(model)) < 100 and "numbers, mean=" in repr(model)
    jax.jit(lambda m: repr(m) and m(jnp.zeros((4, 4, 3))))(model)  # of tracers too
