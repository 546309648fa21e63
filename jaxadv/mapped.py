"""Images that are mapped together, and batch normalization by their own statistics."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxadv import parallel
from jaxadv.specs import UsageError

# The axis under which the images of one batch are mapped, wherever they are.
IMAGES = "images"


def shared(key: Any) -> Any:
    """One key of all images that the devices map over `IMAGES`: the sum of theirs.

    It is another one as long as any of them is: where a search has ended for some
    images, and their keys stand still, the others go on with new draws.
    """
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):  # sums take no typed keys
        return jax.random.wrap_key_data(shared(jax.random.key_data(key)))
    return jax.lax.psum(key, (IMAGES, parallel.AXIS))


@contextlib.contextmanager
def statistics(module: linen.Module) -> Iterator[None]:
    """Within it each linen BatchNorm takes the statistics of all images of `IMAGES`.

    The variance is the biased one, as in train mode. No running average moves.

    Raises:
      UsageError: `module` has been called and has no such layer.
    """
    seen = False

    def intercepted(call, args, kwargs, context):
        nonlocal seen
        layer = context.module
        if not isinstance(layer, linen.BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        seen = True
        return _normalized(layer, args[0])

    with linen.intercept_methods(intercepted):
        yield
    if not seen:
        raise UsageError(
            f"{type(module).__name__} has batch statistics, but no BatchNorm of "
            "flax.linen that could take those of a batch; leave craft_bn at 'average'"
        )


def _normalized(layer, given):
    x = given.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    mean = jax.lax.pmean(jnp.mean(x, axes), IMAGES)
    variance = jax.lax.pmean(jnp.mean((x - mean) ** 2, axes), IMAGES)
    params = layer.variables.get("params", {})
    scale = params.get("scale", 1.0) * jax.lax.rsqrt(variance + layer.epsilon)
    shifted = (x - mean) * scale + params.get("bias", 0.0)
    return shifted.astype(layer.dtype or given.dtype)
