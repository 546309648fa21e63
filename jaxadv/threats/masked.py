"""Different budgets for the foreground and the background of an image."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.numerics import masks, streams
from jaxadv.threats import lp


@struct.dataclass
class Masked:
    """Two lp balls, one on each side of a mask, with a budget each.

    Parameters are one perturbation [h, w, c]; each region is projected, stepped
    and measured by its own ball as if the other did not exist. `size` is relative:
    1 is the full budget of the fuller region. Source: Tong et al., "Towards
    robustness against unsuspicious adversarial examples" (dual-perturbation
    attacks), appendix.

    Attributes:
      foreground: the lp threat where `mask` is 1.
      background: the lp threat where `mask` is 0.
      mask: [h, w, 1], or anything that broadcasts to the image, of 0 and 1; one a
        image through `per_image`. "dataset" or "central" in its place sets `where`.
      where: the mask where none is given: "central", the central half of each side, or
        "dataset", the data set's own of each image, which drivers are handed as
        `features`.
    """

    foreground: Any = specs.part(lambda: lp.BALLS)
    background: Any = specs.part(lambda: lp.BALLS)
    mask: Any = specs.leaf(None, binary=True)
    where: str = specs.static("central", choices=("central", "dataset"))

    def __post_init__(self):
        masks.settle(self)
        specs.check(self)

    @property
    def wants(self) -> Mapping[str, str]:
        return masks.wants(self)

    def bind(
        self, model: Any, image: jax.Array, label: jax.Array, key: Any = None
    ) -> Any:
        mask = masks.of(self, image)
        _check_shape(jnp.shape(mask), image.shape)
        return self.replace(mask=jnp.asarray(mask, image.dtype))  # type: ignore

    @property
    def _regions(self):
        return (self.foreground, self.mask), (self.background, 1 - self.mask)

    @property
    def budget(self) -> Any:
        return sum(region * ball.budget for ball, region in self._regions)

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        # A masked uniform draw of the whole ball is inside the region's ball.
        (fore, mask), (back, rest) = self._regions
        behind = streams.stream(key, "background")
        return mask * fore.init(key, image) + rest * back.init(behind, image)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        return lp.apply(params, image)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return self._sum(
            lambda ball, region: region * ball.direction(region * grad, params, image)
        )

    def maximize(self, grad: Any, image: jax.Array) -> Any:
        return self._sum(
            lambda ball, region: region * ball.maximize(region * grad, image)
        )

    def project(self, params: Any, image: jax.Array) -> Any:
        return self._sum(
            lambda ball, region: region * ball.project(region * params, image)
        )

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        sizes = [
            _relative(ball.size(region * params, image), ball.eps)
            for ball, region in self._regions
        ]
        return jnp.maximum(*sizes)

    @property
    def eps(self) -> Any:
        """The largest `size`: 1, the budgets being the regions' own."""
        return 1.0

    def _sum(self, part):
        (fore, mask), (back, rest) = self._regions
        return part(fore, mask) + part(back, rest)


def _relative(size, eps):
    """`size / eps`, with 0 / 0 as 0: nothing of an empty budget is used."""
    safe = jnp.where(eps > 0, eps, 1.0)
    return jnp.where(size > 0, jnp.where(eps > 0, size / safe, jnp.inf), 0.0)


def _check_shape(shape, image):
    try:
        fits = jnp.broadcast_shapes(shape, image) == tuple(image)
    except ValueError:
        fits = False
    if not fits:
        raise specs.UsageError(
            f"Masked.mask has shape {tuple(shape)}, which does not broadcast to images "
            f"{tuple(image)}; give [h, w, 1]"
        )
