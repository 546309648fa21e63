"""What threats beyond additive perturbations share: sampling, smoothness, kernels.

Everything is for ONE image or field of any size and is differentiable everywhere.
"""

from collections.abc import Collection, Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from jaxadv import numerics

LUMA = (0.299, 0.587, 0.114)


def sample(
    field: jax.Array, coordinates: Sequence[jax.Array], border: str
) -> jax.Array:
    """`field` read between its nodes by (bi-, tri-)linear interpolation.

    Args:
      field: [*nodes, c]; all channels are read at the same places.
      coordinates: one array of places, in nodes, for each axis of `nodes`.
      border: "constant" for zeros beyond the last node, or "nearest".

    Returns:
      The shape of one coordinate array, then c. Whole coordinates give the nodes
      themselves, bit for bit.
    """
    return jax.vmap(
        lambda channel: map_coordinates(channel, coordinates, order=1, mode=border),
        in_axes=-1,
        out_axes=-1,
    )(field)


def roughness(field: jax.Array) -> jax.Array:
    """Sum over all nodes and their neighbors of the length of the difference.

    Args:
      field: [*nodes, c]; every node has two neighbors along each axis, and counts
        as its own where there is none.

    Returns:
      A scalar. 1e-10 is added under each root, as in Xiao et al., "Spatially
      transformed adversarial examples", 2018, eq. 4, so that a constant field has
      1e-5 times its number of pairs and derivative zero.
    """
    total = jnp.zeros(())
    for axis in range(field.ndim - 1):
        squares = jnp.sum(jnp.diff(field, axis=axis) ** 2, axis=-1)
        pairs = jnp.sum(numerics.flat(jnp.sqrt(squares + 1e-10)))
        edges = 2 * field[..., 0].size / field.shape[axis]
        total += 2 * pairs + edges * 1e-5
    return total


def smoothed(grad: jax.Array, field: jax.Array, weight: jax.Array | float) -> jax.Array:
    """`grad` of a gain turned into that of the gain less `weight` x `roughness`."""
    grad = numerics.finite_or_zero(grad)
    return grad - weight * jax.grad(roughness)(field)


def climb(
    grad: Mapping[str, jax.Array], frozen: Collection[str]
) -> dict[str, jax.Array]:
    """Sign of the gradient of every named part; zero for the `frozen` ones."""
    return {
        name: jnp.zeros_like(part)
        if name in frozen
        else numerics.steepest(part, "linf")
        for name, part in grad.items()
    }


def convolve(maps: jax.Array, kernels: jax.Array) -> jax.Array:
    """The sum over k of `maps[k]` convolved with `kernels[k]`, zeros beyond the edge.

    By fast Fourier transforms: kernels that differ by image would otherwise make
    grouped convolutions, which are slow, and in a loop on a CPU very slow.

    Args:
      maps: [k, h, w].
      kernels: [k, n, n] with n odd.

    Returns:
      [h, w].
    """
    height, width = maps.shape[1:]
    n = kernels.shape[-1]
    shape = (height + n - 1, width + n - 1)
    spectrum = jnp.fft.rfft2(maps, shape) * jnp.fft.rfft2(kernels, shape)
    full = jnp.fft.irfft2(jnp.sum(spectrum, axis=0), shape)
    return full[n // 2 : n // 2 + height, n // 2 : n // 2 + width]


def gaussian(width: jax.Array | float, radius: int) -> jax.Array:
    """[2 radius + 1] weights of a blur with standard deviation `width` in pixels."""
    places = jnp.arange(-radius, radius + 1) / jnp.maximum(width, 1e-6)
    weights = jnp.exp(-0.5 * places**2)
    return weights / jnp.sum(weights)


def blur(field: jax.Array, weights: jax.Array, border: str) -> jax.Array:
    """`field` [h, w, c] blurred along both sides by `weights` [odd].

    `border` is what lies beyond: "reflect" for the mirrored field, "constant" for
    zeros.
    """
    radius = len(weights) // 2
    for axis in (0, 1):
        pads = [(0, 0)] * field.ndim
        pads[axis] = (radius, radius)
        padded = jnp.pad(field, pads, mode=border)
        side = field.shape[axis]
        field = jnp.zeros_like(field)
        for k in range(len(weights)):
            shifted = jax.lax.slice_in_dim(padded, k, k + side, axis=axis)
            field += weights[k] * shifted
    return field


def gray(image: jax.Array) -> jax.Array:
    """[h, w, 1]: luma of three channels (ITU-R BT.601), else their mean."""
    if image.shape[-1] != 3:
        return jnp.mean(image, axis=-1, keepdims=True)
    return jnp.sum(image * jnp.array(LUMA), axis=-1, keepdims=True)


def limits(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The smallest and the largest entry."""
    vector = numerics.flat(values)
    return jnp.min(vector), jnp.max(vector)


def rescaled(values: jax.Array) -> jax.Array:
    """`values` stretched to [0, 1]; zero where they are all equal."""
    low, high = limits(values)
    spread = high - low
    safe = jnp.where(spread > 0, spread, 1.0)
    return jnp.where(spread > 0, (values - low) / safe, 0.0)
