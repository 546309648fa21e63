"""Padding of strided convolutions, and max pooling against brute force."""

import functools
import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxadv.models import layers
from tests.models.references import conv_reference, pool_reference, random_images


@pytest.mark.parametrize(("kernel", "side"), [(3, 6), (3, 5), (7, 8), (1, 6)])
def test_stride_two_pads_both_sides_alike(kernel, side):
    kinds = {"kernel_init": layers.TORCH_KERNEL, "dtype": jnp.float32}
    conv = layers.conv(4, kernel, 2, name="conv", **kinds)
    x = random_images((1, side, side, 3))
    params = {"kernel": random_images((kernel, kernel, 3, 4), seed=2)}
    result = conv.apply({"params": params}, x)
    np.testing.assert_allclose(
        result[0], conv_reference(x[0], params, 2), rtol=1e-4, atol=1e-4
    )


_max_pool = jax.jit(layers.max_pool, static_argnums=(1, 2, 3))
_pool_gradient = jax.jit(
    jax.grad(lambda x, weights, *pool: jnp.sum(layers.max_pool(x, *pool) * weights)),
    static_argnums=(2, 3, 4),
)
POOLS = [(2, 2, 0), (2, None, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1), (2, 3, 0), (1, 2, 0)]


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(
    pool=st.sampled_from(POOLS),
    side=st.sampled_from([(6, 7), (4, 4)]),
    levels=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_max_pool_equals_brute_force(pool, side, levels, seed):
    x = np.random.default_rng(seed).integers(-levels, levels, (2, *side, 2))
    window, strides, padding = pool
    x = x.astype(np.float32)
    pooled = _max_pool(x, window, strides, padding)
    for image, result in zip(x, pooled, strict=True):
        expected = pool_reference(image, window, strides or window, padding)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(("window", "strides", "padding"), POOLS)
def test_max_pool_gradient_without_ties(window, strides, padding):
    rng = np.random.default_rng(0)
    x = rng.permutation(2 * 6 * 7 * 2).reshape(2, 6, 7, 2).astype(np.float32)
    sides, step = (padding, padding), strides or window

    def flax_pool(x):
        return nn.max_pool(x, (window, window), (step, step), (sides, sides))

    weights = rng.standard_normal(jax.eval_shape(flax_pool, x).shape)
    weights, tangent = np.float32(weights), np.float32(rng.standard_normal(x.shape))
    expected = jax.jit(jax.grad(lambda x: jnp.sum(flax_pool(x) * weights)))(x)
    gradient = _pool_gradient(x, weights, window, strides, padding)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)

    @jax.jit
    def push(x, tangent):
        pool = functools.partial(
            layers.max_pool, window=window, strides=strides, padding=padding
        )
        return jax.jvp(pool, (x,), (tangent,))[1]

    pushed = push(x, tangent)
    np.testing.assert_allclose(
        np.sum(pushed * weights), np.sum(gradient * tangent), rtol=1e-4
    )


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(pool=st.sampled_from([(2, 2, 0), (3, 2, 1)]), seed=st.integers(0, 99))
def test_max_pool_gives_a_tied_window_to_its_first_winner(pool, seed):
    window, strides, padding = pool
    x = np.random.default_rng(seed).integers(0, 2, (1, 4, 4, 1)).astype(np.float32)
    gradient = _pool_gradient(x, 1.0, *pool)
    edges = ((padding, padding), (padding, padding))
    padded = np.pad(x[0, :, :, 0], edges, constant_values=-np.inf)
    expected = np.zeros_like(padded)
    starts = range(0, len(padded) - window + 1, strides)
    for i, j in itertools.product(starts, starts):
        patch = padded[i : i + window, j : j + window]
        row, column = np.unravel_index(patch.argmax(), patch.shape)
        expected[i + row, j + column] += 1
    inside = slice(padding, padding + 4)
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected[inside, inside])


def test_max_pool_returns_a_nan_of_its_window():
    for i, j in itertools.product(range(2), range(2)):
        x = jnp.zeros((1, 2, 4, 1)).at[0, i, j, 0].set(jnp.nan)
        pooled = layers.max_pool(x, 2)[0, 0, :, 0]
        assert jnp.isnan(pooled[0]) and pooled[1] == 0
