"""Additive perturbations in an lp ball around the image, kept in the unit box.

Parameters are the perturbation itself, [h, w, c]. Projections are the exact
Euclidean ones onto ball and box together, so no clipping afterwards weakens an
attack or leaves the ball.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import numerics, specs, struct
from jaxadv.numerics import projections
from jaxadv.plugins import Registry


def apply(delta: jax.Array, image: jax.Array) -> jax.Array:
    """`image + delta`, rounded so that no lp norm of the change grows."""
    return numerics.clip(numerics.add_toward(image, delta), 0.0, 1.0)


def box(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(low, high) of what may be added to an image, or to every image of a group.

    Args:
      image: [h, w, c], or [k, h, w, c] for the intersection of k boxes.

    Returns:
      Two [h, w, c], -image and 1 - image for one image.
    """
    images = image.reshape(-1, *image.shape[-3:])
    return -jnp.min(images, axis=0), 1 - jnp.max(images, axis=0)


def _change(delta, image):
    return apply(delta, image) - image


def blocked(grad: Any, delta: Any, image: jax.Array) -> Any:
    """The channels that the box keeps from following `grad`."""
    low, high = box(image)
    return ((grad > 0) & (delta >= high)) | ((grad < 0) & (delta <= low))


def relative(grad: Any) -> Any:
    """`grad` divided by its largest magnitude; zero where it is no number, or zero."""
    grad = numerics.finite_or_zero(grad)
    largest = numerics.safe_norm(grad, "linf")
    return jnp.where(largest > 0, grad / jnp.where(largest > 0, largest, 1.0), 0.0)


def _init(self, key, image):
    """A uniform point of the ball, projected onto the box as well."""
    start = numerics.uniform_in_ball(
        key, image.shape[-3:], self.norm, self.eps, image.dtype
    )
    return self.project(start, image)


def _apply(self, params, image):
    return apply(params, image)


def _eps(self):
    return self.eps


@struct.dataclass
class Linf:
    """Every channel of every pixel moves by at most `eps` (in [0, 1] units).

    Attributes:
      eps: the budget, in [0, 1] units; traced, one number or one for each image.

    Example:
      >>> ball = ja.Linf(8 / 255)
      >>> params = ball.project(jnp.array([[[0.5]]]), image=jnp.array([[[0.99]]]))
      >>> round(float(params[0, 0, 0]), 2)  # the box ends before the ball does
      0.01
    """

    eps: float = specs.leaf(minimum=0.0)

    __post_init__ = specs.check
    norm: ClassVar[str] = "linf"

    init, apply, budget = _init, _apply, property(_eps)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return numerics.steepest(grad, "linf")

    def maximize(self, grad: Any, image: jax.Array) -> Any:
        return projections.maximize_linear(grad, "linf", self.eps, *box(image))

    def project(self, params: Any, image: jax.Array) -> Any:
        return projections.project_linf(params, self.eps, *box(image))

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return numerics.safe_norm(_change(params, image), "linf")


@struct.dataclass
class L2:
    """Euclidean norm of the perturbation at most `eps` (in [0, 1] units).

    Attributes:
      eps: the budget, in [0, 1] units.

    Example:
      >>> image, params = np.full((2, 2, 1), 0.5), np.full((2, 2, 1), 0.25)
      >>> float(ja.L2(1.0).size(params, image))
      0.5
    """

    eps: float = specs.leaf(minimum=0.0)

    __post_init__ = specs.check
    norm: ClassVar[str] = "l2"

    init, apply, budget = _init, _apply, property(_eps)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return numerics.steepest(grad, "l2")

    def maximize(self, grad: Any, image: jax.Array) -> Any:
        return projections.maximize_linear(grad, "l2", self.eps, *box(image))

    def project(self, params: Any, image: jax.Array) -> Any:
        return projections.project_l2(params, self.eps, *box(image))

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return numerics.safe_norm(_change(params, image), "l2")


@struct.dataclass
class L1:
    """Sum of absolute changes at most `eps` (in [0, 1] units).

    Attributes:
      eps: the budget.
      fraction: the share of the channels that one step moves: those with the
        largest gradient among the ones the box lets move. Source: Tramer and
        Boneh, "Adversarial training and robustness for multiple perturbations",
        2019 (SLIDE), who move them by equal amounts; here each moves in proportion
        to its gradient, so that on a linear model the steps end at the optimum.
    """

    eps: float = specs.leaf(minimum=0.0)
    fraction: float = specs.static(0.01, minimum=0.0, maximum=1.0)

    __post_init__ = specs.check
    norm: ClassVar[str] = "l1"

    init, apply, budget = _init, _apply, property(_eps)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        grad = numerics.finite_or_zero(grad)
        free = jnp.where(blocked(grad, params, image), 0.0, grad)
        chosen = numerics.steepest(free, "l1", fraction=self.fraction) != 0
        weakest = jnp.min(numerics.flat(jnp.where(chosen, jnp.abs(grad), jnp.inf)))
        # Blocked channels with as large a gradient are pushed as well: the box
        # holds them, and the projection then has nothing to take away from them.
        pushed = chosen | ((free != grad) & (jnp.abs(grad) >= weakest))
        scaled = relative(grad)
        length = numerics.safe_norm(jnp.where(chosen, scaled, 0.0), "l1")
        return jnp.where(pushed, scaled, 0.0) / jnp.where(length > 0, length, 1.0)

    def maximize(self, grad: Any, image: jax.Array) -> Any:
        return projections.maximize_linear(grad, "l1", self.eps, *box(image))

    def project(self, params: Any, image: jax.Array) -> Any:
        return projections.project_l1(params, self.eps, *box(image))

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return numerics.safe_norm(_change(params, image), "l1")


@struct.dataclass
class L0:
    """At most `eps` changed channels, or pixels; each moves freely in [0, 1].

    A step of size 1 moves the channel with the largest gradient through the whole
    range; much larger steps choose the channels by what each can gain inside the
    box. A relative step is relative to 1, not to `eps`.

    Attributes:
      eps: the number of channels (pixels) that may change.
      pixels: whether all the channels of one pixel count once.
    """

    eps: float = specs.leaf(minimum=0.0, whole=True)
    pixels: bool = specs.static(False)

    __post_init__ = specs.check
    norm: ClassVar[str] = "l0"

    init, apply, budget = _init, _apply, 1.0

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return relative(grad)

    def maximize(self, grad: Any, image: jax.Array) -> Any:
        return projections.maximize_linear(
            grad, "l0", self.eps, *box(image), pixels=self.pixels
        )

    def project(self, params: Any, image: jax.Array) -> Any:
        return projections.project_l0(params, self.eps, *box(image), pixels=self.pixels)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        changed = _change(params, image) != 0
        if self.pixels:
            changed = jnp.any(changed, axis=-1)
        return jnp.sum(numerics.flat(changed)).astype(jnp.float32)


# What masks and groups of images are made of.
BALLS = Registry("balls", {"l0": L0, "l1": L1, "l2": L2, "linf": Linf})
