"""Normalization, taps, keys, and weights that are inputs of a program."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.classifier import Classifier, full_precision, seen
from tests import nets


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
    from flax import linen as nn

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
