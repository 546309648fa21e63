"""LPIPS: the distance between the activations of two images in a network."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import arrays, numerics, protocols, specs, struct, weights
from jaxadv.perceptual.networks import NETWORKS

_FLOOR = 1e-10  # added to the norm over the channels, as the official package does


def embed(
    taps: Sequence[jax.Array], linear: Sequence[jax.Array] | None = None
) -> jax.Array:
    """phi: activations normalized over channels and size, as one vector [m].

    Each tap is divided by its norm over the channels and by the root of its number
    of pixels. A pixel whose channels are all zero stays zero, with derivative zero.

    Args:
      taps: activations [h, w, c], at least one.
      linear: for each tap, weights [c] >= 0 of the squared differences.

    Returns:
      At least float32, whatever the taps are.

    Source: Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense
    against unseen threat models", 2021, section 3; the weights: Zhang et al., "The
    unreasonable effectiveness of deep features as a perceptual metric", 2018, eq. 1.
    """
    parts = []
    for i, tap in enumerate(taps):
        tap = tap.astype(jnp.promote_types(tap.dtype, jnp.float32))
        square = jnp.sum(tap * tap, axis=-1, keepdims=True)
        alive = square != 0  # NaN is, and stays NaN
        norm = jnp.sqrt(jnp.where(alive, square, 1.0)) + _FLOOR
        part = jnp.where(alive, tap / norm, 0.0) / (tap.shape[0] * tap.shape[1]) ** 0.5
        if linear is not None:
            part = part * jnp.sqrt(jnp.asarray(linear[i], part.dtype))
        parts.append(part.reshape(-1))
    return jnp.concatenate(parts)


@struct.dataclass
class Lpips:
    """||phi(a) - phi(b)||, or its square, of two images [h, w, c] in [0, 1].

    Unweighted and rooted it is the distance of Laidlaw, Singla and Feizi (2021),
    whose square is the official package's `lpips=False`; with the package's learned
    weights and `squared` it is the package's default. The network computes in
    float32 at the highest matrix-multiplication precision.

    Attributes:
      network: a Classifier with feature taps; None for the attacked classifier.
      linear: None, or for each tap the learned weights [c]; "alexnet" or "vgg16"
        reads those of the official package, "stlpips_alexnet" or "stlpips_vgg16" those
        of stlpips_pytorch.
      squared: return the square.
    """

    network: Any = specs.part(lambda: NETWORKS, None)
    linear: Any = None
    squared: bool = specs.static(False)
    key: Any = specs.bound()

    def __post_init__(self):
        if isinstance(self.linear, str):
            object.__setattr__(self, "linear", weights.lpips_linear(self.linear))

    def bind(
        self, model: Any, image: jax.Array, label: jax.Array, key: jax.Array
    ) -> Any:
        """With the attacked classifier as its network, unless it has its own.

        A network that is random draws from `key`, the same for every image.
        """
        network = model if self.network is None else self.network
        return self.replace(network=network, key=key)  # type: ignore[attr-defined]

    def embed(self, image: jax.Array) -> jax.Array:
        """phi(image), a vector [m]; the unsquared distance is that of two of them.

        Raises:
          UsageError: there is no network, it offers no feature taps, or the image is
        no [h, w, c] of floating-point numbers that fits it.
        """
        arrays.check_one(image)
        if not protocols.has_features(self.network):
            raise specs.UsageError(
                "Lpips: network is None or not a single Classifier; give an external "
                "network, as {'name': 'stlpips_alexnet'}, or bind it to the attacked "
                "one"
            )
        with jax.default_matmul_precision("highest"):
            taps = self.network.full_precision().features(image, self.key)
        if not taps:
            raise specs.UsageError(
                "Lpips: the network offers no feature taps; sow them as "
                "features/taps, give from_function(features=…), or give an external "
                "network"
            )
        return embed(taps, self.linear)

    def between(self, phi: jax.Array, other: jax.Array) -> jax.Array:
        """The distance of two images whose phi are known."""
        if self.squared:
            return jnp.sum((phi - other) ** 2)
        return numerics.safe_norm(phi - other, "l2")

    def __call__(self, image: jax.Array, other: jax.Array) -> jax.Array:
        arrays.check_pair(image, other)
        return self.between(self.embed(image), self.embed(other))
