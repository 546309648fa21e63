"""The LPIPS ball: images whose activations stay near those of the image."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import arrays, numerics, specs, struct
from jaxadv.perceptual import NETWORKS, Lpips, jacobian, projection
from jaxadv.threats import lp

# Two programs that compute phi of one image differ by rounding; so much below eps
# is kept that the distance is at most eps in each of them.
_SLACK, _ROUNDING = 1e-4, 1e-5


def self_bounded(tree: Any) -> bool:
    """Whether a threat or attack, or a part of it, is bounded in the attacked network.

    Such a ball changes with the network: successes in those of two networks do not
    compare.
    """
    ball: Any = LpipsBall

    def is_ball(node):
        return type(node) is ball

    nodes = jax.tree.leaves(tree, is_leaf=is_ball)
    return any(is_ball(node) and node.network is None for node in nodes)


@struct.dataclass
class LpipsBall:
    """LPIPS distance to the image at most `eps`: the neural perceptual threat model.

    Self-bounded, the distance is that of the attacked network; with a `network` of
    its own the threat is externally bounded. Parameters are the perturbation,
    [h, w, c]. The unweighted distance is at most sqrt(2 x number of taps); 0.5 is
    the paper's bound for CIFAR-10 self-bounded, 1.0 with AlexNet, and 0.25 and 0.5
    for ImageNet-100.

    Source: Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense
    against unseen threat models", 2021, sections 3 and 4, appendix A. Unlike their
    code, everything is decided image by image, Newton's steps use their own
    gradients, the bisection returns a feasible point, and J v is exact by default.

    Attributes:
      eps: the budget.
      network: a Classifier with feature taps; None for the attacked one.
      linear: learned weights of the distance; see `perceptual.Lpips`.
      projection: "newton", with bisection where it does not arrive, or "bisection"
        alone.
      derivative: "exact" products with the Jacobian, or "secant", difference
        quotients as in the paper.
      secant_step: h of the difference quotients of the steepest direction, where
        the vectors are those of a gradient of unit length; the paper's has its own.
      cg_steps: conjugate gradients of the steepest direction.
      newton_steps: of the projection, each a forward and a backward pass.
      bisection_steps: of the projection, each a forward pass.
      overshoot: by what share of eps a Newton step aims inside (0.01 at the paper's
        eps of 0.5).
      start: standard deviation of the random start, in [0, 1] units.
    """

    eps: float = specs.leaf(minimum=0.0)
    network: Any = specs.part(lambda: NETWORKS, None)
    linear: Any = None
    projection: str = specs.static("newton", choices=("newton", "bisection"))
    derivative: str = specs.static("exact", choices=jacobian.DERIVATIVES)
    secant_step: float = specs.leaf(1e-3, minimum=0.0)
    cg_steps: int = specs.static(5, minimum=1)
    newton_steps: int = specs.static(3, minimum=0)
    bisection_steps: int = specs.static(8, minimum=1)
    overshoot: float = specs.leaf(0.02, minimum=0.0)
    start: float = specs.leaf(0.01, minimum=0.0)
    metric: Any = specs.bound()
    reference: Any = specs.bound()

    __post_init__ = specs.check

    @property
    def budget(self) -> Any:
        return self.eps

    @property
    def inner(self) -> jax.Array:
        """What projections aim at: `eps` less what rounding may change."""
        return jnp.maximum(self.eps * (1 - _SLACK) - _ROUNDING, 0.0)

    def bind(
        self, model: Any, image: jax.Array, label: jax.Array, key: jax.Array
    ) -> Any:
        metric = self._lpips().bind(model, image, label, key)
        reference = jax.lax.stop_gradient(metric.embed(image))
        return self.replace(  # type: ignore[attr-defined]
            metric=metric, reference=reference
        )

    def attacking(self, model: Any) -> "LpipsBall":
        """The bound threat with `model` for the attacked network, the same weights."""
        if self.network is not None or self.metric is None:
            return self
        metric = self.metric.replace(network=model)
        return self.replace(metric=metric)  # type: ignore[attr-defined]

    def embed(self, image: jax.Array) -> jax.Array:
        """phi(image), a vector [m]."""
        metric = self._lpips() if self.metric is None else self.metric
        return metric.embed(image)

    def distance(self, image: jax.Array, other: jax.Array) -> jax.Array:
        """LPIPS distance of `other` to the clean `image`."""
        arrays.check_pair(image, other, values=False)
        reference = self.embed(image) if self.reference is None else self.reference
        return numerics.safe_norm(self.embed(other) - reference, "l2")

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        noise = self.start * jax.random.normal(key, image.shape)
        return self.project(noise, image)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        return lp.apply(params, image)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return self.distance(image, self.apply(params, image))

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        """The solution of (J^T J) d = grad by conjugate gradients, ||J d|| = 1."""
        near = jacobian.linearize(
            self.embed, self.apply(params, image), self.derivative, self.secant_step
        )
        steepest = jacobian.steepest(near, grad, self.cg_steps)
        return steepest / self.limited(
            numerics.safe_norm(near.push(steepest), "l2"), image
        )

    def limited(self, speed: jax.Array, image: jax.Array) -> jax.Array:
        """`speed`, the change of phi by a unit l2 step, bounded away from zero.

        So that a step of size `eps` is not longer than the unit box's diameter.
        """
        return jnp.maximum(speed, self.eps / image.size**0.5 + 1e-12)

    def project(self, params: Any, image: jax.Array) -> Any:
        # phi of the image is computed once, not once in every step.
        own = self.replace(reference=self._reference(image))  # type: ignore
        point = self.apply(numerics.finite_or_zero(params), image)

        def distance(x):
            return own.distance(image, x)

        if self.projection == "newton":
            aim = self.overshoot * self.eps
            point = projection.newton(
                distance, point, self.inner, self.newton_steps, aim
            )
        point = projection.bisection(
            distance, image, point, self.inner, self.bisection_steps
        )
        return point - image

    def _reference(self, image):
        return self.embed(image) if self.reference is None else self.reference

    def _lpips(self):
        return Lpips(self.network, self.linear)
