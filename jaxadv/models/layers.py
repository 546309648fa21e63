"""What the networks share: their contract, pooling, normalization, initializers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxadv import specs

TORCH_KERNEL = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""PyTorch's default: uniform within 1/sqrt(fan_in) (He et al., 2015, a = sqrt(5))."""

HE_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""He et al., "Delving Deep into Rectifiers" (2015), equation 14: N(0, 2/fan_out)."""


ACTIVATIONS = {"relu": nn.relu, "silu": nn.silu}
"""Name -> function. SiLU, x times its sigmoid, is also called swish."""

PADDINGS = ("both", "far")
"""Where the zeros around an image are that a convolution of stride 2 sees."""


class ImageClassifier(nn.Module):
    """The contract of every network here, and the two fields they all have.

    `module.apply(variables, images, train=False)` maps normalized images
    [n, h, w, c] to logits [n, num_classes]. The logits, the parameters and the
    batch statistics are float32 whatever `compute_dtype` is. With
    `mutable=["features"]` it also returns `{"features": {"taps": ...}}`: a tuple of
    feature maps [n, h', w', c'] in `compute_dtype`, shallowest first.

    Attributes:
      num_classes: number of logits.
      compute_dtype: floating dtype, or its name, of the activations.

    Raises:
      UsageError: a field is out of bounds, or `compute_dtype` is not floating.
    """

    num_classes: int = specs.given(10, minimum=1)
    compute_dtype: Any = jnp.float32

    def __post_init__(self):
        specs.check(self)
        floating_dtype(self.compute_dtype)
        super().__post_init__()

    @property
    def dtype(self) -> Any:
        """`compute_dtype` as a dtype object."""
        return floating_dtype(self.compute_dtype)

    def tap(self, x: jax.Array) -> jax.Array:
        """Offers `x` [n, h, w, c] as the next feature map, and returns it."""
        # Sown during init, the maps would end up among the variables.
        if not self.is_initializing():
            self.sow("features", "taps", x)
        return x


def remat(kind: type[nn.Module], wanted: bool) -> Any:
    """`kind`, a block called as `block(x, train)`; its insides are computed again.

    A gradient keeps its input alone where this is `wanted`; names of variables stay.
    """
    return nn.remat(kind, static_argnums=(2,)) if wanted else kind


def site(module: nn.Module, x: jax.Array) -> jax.Array:
    """`x` [n, h, w, c], a place where noise may be added, with the noise added to it.

    The noise, [h, w, c] or [n, h, w, c], is the variable `noise/site` of the module;
    without one nothing changes. What `x` is like can be seen as `sites/site`.

    Raises:
      UsageError: the noise is of another shape.
    """
    if not module.is_initializing():
        empty: Any = ()
        module.sow("sites", "site", x, init_fn=lambda: empty, reduce_fn=_only)
    noise = module.get_variable("noise", "site", None)
    if noise is None:
        return x
    if jnp.shape(noise)[-3:] != x.shape[-3:]:
        place = "/".join(module.path) or "the stem"
        raise specs.UsageError(
            f"the noise at {place} is {jnp.shape(noise)} and what it is added to "
            f"{x.shape}: noise fits images of one size alone"
        )
    return x + jnp.asarray(noise, x.dtype)


def _only(before, new):
    if not isinstance(before, tuple):
        raise specs.UsageError(
            "a module has two places for noise; put each into a module of its own"
        )
    return new


def floating_dtype(name: Any) -> Any:
    """The floating dtype called `name`, which may also be the dtype itself.

    Raises:
      UsageError: `name` is not a floating dtype.
    """
    try:
        # NumPy would read None as float64.
        dtype = None if name is None else jnp.dtype(name)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise specs.UsageError(
            f"compute_dtype is {name!r}; it must be a floating dtype such as "
            "'float32', 'bfloat16' or 'float16'"
        )
    return dtype


def check_stage_sizes(sizes: tuple[int, ...]) -> None:
    """Checks a residual network's numbers of blocks.

    Raises:
      UsageError: there is no stage, or one is not a positive number of blocks.
    """
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise specs.UsageError(
            f"stage_sizes is {sizes!r}; it must hold the number of blocks of each "
            "stage, positive integers such as (2, 2, 2, 2)"
        )


def max_pool(
    x: jax.Array, window: int, strides: int | None = None, padding: int = 0
) -> jax.Array:
    """The largest value in each square window, with a gradient that is fast on CPU.

    The gradient of `nn.max_pool` is slow there. Here a window is reduced along its
    columns, then its rows, by selecting between strided slices. The whole gradient
    of a window goes to exactly one of its positions: at ties the first one in
    row-major order, as in PyTorch (`jnp.max` and `jnp.maximum` would split it). A
    NaN in a window is returned.

    Args:
      x: [n, h, w, c], floating.
      window: side of the window in pixels.
      strides: step between windows in pixels; `window` if None.
      padding: pixels of -inf put on each side.

    Returns:
      [n, h', w', c], h' = (h + 2 padding - window) // strides + 1; pixels beyond
      the last whole window are left out.
    """
    if padding:
        sides = (padding, padding)
        pads = ((0, 0), sides, sides, (0, 0))
        x = jnp.pad(x, pads, constant_values=-jnp.inf)
    strides = strides or window
    for axis in (2, 1):
        last = (x.shape[axis] - window) // strides * strides
        shifted = [
            lax.slice_in_dim(x, start, start + last + 1, strides, axis)
            for start in range(window)
        ]
        x = functools.reduce(_first_largest, shifted)
    return x


def _first_largest(a, b):
    """The larger of `a` and `b`, `a` at ties, and NaN where either is NaN."""
    return jnp.where((b > a) | jnp.isnan(b), b, a)


def global_mean(x: jax.Array) -> jax.Array:
    """Mean over the pixels of [n, h, w, c], summed and returned in float32: [n, c]."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)


def conv(
    features: int,
    kernel: int,
    strides: int = 1,
    *,
    kernel_init: Any,
    dtype: Any,
    name: str,
    padding: str = "both",
) -> nn.Conv:
    """A square convolution without bias; `padding` is one of `PADDINGS`.

    "both" puts kernel // 2 zeros on each side, as networks of PyTorch do. "far" puts
    kernel - strides zeros, one more on the far side than on the near one if that is
    odd: what TensorFlow and Haiku call "SAME", for images of an even side. At stride 2
    the two shift the filters against each other.
    """
    before = after = kernel // 2
    if padding == "far":
        before = max(kernel - strides, 0) // 2
        after = max(kernel - strides, 0) - before
    return nn.Conv(
        features,
        (kernel, kernel),
        strides,
        padding=((before, after),) * 2,
        use_bias=False,
        kernel_init=kernel_init,
        dtype=dtype,
        name=name,
    )


def batch_norm(train: bool, dtype: Any, name: str) -> nn.BatchNorm:
    """Batch normalization with PyTorch's constants.

    Statistics move by a tenth a step; unlike PyTorch's, the running variance is the
    biased one. In eval mode the running statistics are used and kept.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=dtype,
        name=name,
    )


def torch_dense(num_classes: int, fan_in: int, *, zero_bias: bool = False) -> nn.Dense:
    """The float32 output layer "head", initialized as PyTorch's `Linear`.

    Args:
      num_classes: number of outputs.
      fan_in: number of inputs, which sets the range of the initial bias.
      zero_bias: start the bias at zero instead.
    """

    def uniform(key, shape, dtype=jnp.float32):
        bound = fan_in**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    bias_init = nn.initializers.zeros_init() if zero_bias else uniform
    return nn.Dense(
        num_classes, kernel_init=TORCH_KERNEL, bias_init=bias_init, name="head"
    )
