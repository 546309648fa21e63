"""Arithmetic and norms without the traps of zero, infinity and rounding.

Every function takes ONE array of any shape and treats it as one vector (batches
are the caller's `vmap`), follows the dtype of its first argument and runs a fixed
number of operations, so all of them work under `jit`, `vmap` and `pmap`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxadv.specs import UsageError


def clip(x: jax.Array, low: jax.Array | float, high: jax.Array | float) -> jax.Array:
    """`x` limited to [low, high], with derivative 1 inside and AT both limits.

    Saturated pixels sit exactly on a limit, where `jnp.clip` passes half of the
    gradient and `lax.clamp` none. Outside, the derivative goes to the limit.

    Args:
      x: any shape; NaN stays NaN.
      low, high: broadcast against `x`, with low <= high.
    """
    x = jnp.asarray(x)
    low, high = jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype)
    return jnp.where(x < low, low, jnp.where(x > high, high, x))


def flat(x: jax.Array) -> jax.Array:
    """`x` as one vector [n], of which sums and maxima are cheap on CPU.

    XLA:CPU takes 25 times as long over the axes [28, 28, 1] as over [784], and makes
    the second the first where it sees the reshape, which is hidden from it here.

    Args:
      x: any shape; a vector is returned as it is.
    """
    return x if x.ndim == 1 else lax.optimization_barrier(x.ravel())


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """The sum of the products of the entries of two arrays of one shape, a scalar."""
    return jnp.sum(flat(a) * flat(b))


def safe_norm(x: jax.Array, ord: str) -> jax.Array:
    """The norm of `x` read as one vector, with derivative zero at zero.

    The l2 norm is computed relative to the largest entry, so that no square under-
    or overflows: it is right from 1.2e-38 to 3e38 in float32 (XLA on CPU reads
    smaller, subnormal numbers as zero). An infinite entry gives inf, a NaN NaN.

    Args:
      x: any shape.
      ord: "l1", "l2" or "linf".

    Returns:
      A scalar of the dtype of `x`.

    Raises:
      UsageError: `ord` is another name.
    """
    check_norm(ord, ("l1", "l2", "linf"))
    x = flat(x)
    if ord != "l2":
        # The derivative of jnp.abs at zero is 1; that of x * sign is 0.
        size = x * lax.stop_gradient(jnp.sign(x))
        return jnp.sum(size) if ord == "l1" else jnp.max(size)
    peak, scale = lax.stop_gradient(jnp.max(jnp.abs(x))), power_of_two(x)
    regular = jnp.isfinite(peak) & (peak > 0)
    total = jnp.sum((jnp.where(regular, x, 1.0) / scale) ** 2)
    return jnp.where(regular, scale * jnp.sqrt(total), peak)


def safe_normalize(x: jax.Array, norm: str = "l2") -> jax.Array:
    """`x` divided by its norm; zero, with derivative zero, where `x` is zero.

    Entries that are NaN or infinite count as zero. Gradients as small as 1.2e-38
    still come out with norm one, because no constant is added to the norm.

    Args:
      x: any shape.
      norm: "l1", "l2" or "linf".

    Raises:
      UsageError: `norm` is another name.
    """
    vector = finite_or_zero(flat(x))
    nonzero = jnp.any(vector != 0)
    scaled = jnp.where(nonzero, vector, 1.0) / power_of_two(vector)
    unit = jnp.where(nonzero, scaled / safe_norm(scaled, norm), 0.0)
    return unit.reshape(x.shape)


def power_of_two(x: jax.Array) -> jax.Array:
    """A scale for `x`: the power of two below its largest magnitude, 1 for zero.

    Dividing by it is exact and leaves entries below 4. It is at most half of the
    largest power, because XLA multiplies by the reciprocal, which must not be
    subnormal. A constant to differentiation.
    """
    peak = jnp.max(jnp.abs(lax.stop_gradient(flat(x))))
    kind = jnp.dtype(f"int{8 * x.dtype.itemsize}")
    exponent_bits = lax.bitcast_convert_type(jnp.asarray(jnp.inf, x.dtype), kind)
    bits = lax.bitcast_convert_type(peak, kind) & exponent_bits
    power = lax.bitcast_convert_type(bits, x.dtype)
    largest = 2.0 ** (jnp.finfo(x.dtype).maxexp - 2)
    return jnp.where(power > 0, jnp.minimum(power, largest), 1.0)


def finite_or_zero(x: jax.Array) -> jax.Array:
    """`x` with zeros in place of NaN and infinite entries."""
    return jnp.where(jnp.isfinite(x), x, 0.0)


def check_norm(norm: str, allowed: tuple[str, ...]) -> None:
    """Raises UsageError unless `norm` is one of the `allowed` names."""
    if norm not in allowed:
        raise UsageError(f"norm is {norm!r}; allowed: {', '.join(map(repr, allowed))}")
