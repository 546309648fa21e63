"""Domains: K losses that one perturbation must raise together, and their weights.

A domain is a model of an ensemble, an image of a group, a transformation or a type of
attack. The min-max problem weighs the losses by a point w of the probability simplex,
less gamma / 2 * |w - 1 / K|^2, which pulls w to the average case. Source: Wang, Zhang,
Liu, Chen, Xu, Fardad and Li, "Adversarial Attack Generation Empowered by Min-Max
Optimization", 2021, eq. 4 to 7 and algorithm 1.

`Models`, `Images` and `Transforms` say what the K domains are:

  count(model, image) -> K
  each(function, model, image, label, key, *own) -> what the function returns, stacked

where `function(model, image, label, key, *own)` is called with one domain's model,
image, label, key, and its entry of every pytree in `own` (leading axis K).
"""

import numbers
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxadv import numerics, objectives, protocols, specs, struct
from jaxadv.numerics import streams
from jaxadv.objectives import base, transforms
from jaxadv.objectives.untargeted import CrossEntropy
from jaxadv.plugins import Registry

_SUM = 0.011  # how far from 1 weights that are rounded to two digits may sum


def uniform(count: int) -> jax.Array:
    """[count] equal weights: the average case."""
    return jnp.full((count,), 1 / count)


def ascend(
    weights: jax.Array, losses: jax.Array, step_size: ArrayLike, gamma: ArrayLike
) -> jax.Array:
    """One projected gradient step of the weights towards the larger losses.

    Args:
      weights: [..., k], on the simplex.
      losses: [..., k] of the domains; those that are not finite count as zero.
      step_size: in weight per unit of loss; beta in the source's algorithm 1. At
        most 1 / gamma of it is taken: with longer steps the weights swing around the
        average in place of coming to it.
      gamma: strength of the pull to equal weights, 0 for none.

    Returns:
      [..., k], on the simplex.
    """
    step_size = step_size / jnp.maximum(1.0, step_size * gamma)
    pull = gamma * (weights - 1 / weights.shape[-1])
    return numerics.project_simplex(
        weights + step_size * (numerics.finite_or_zero(losses) - pull)
    )


@struct.dataclass
class Models:
    """The classifiers of an ensemble: the model is a tuple of K, or one alone."""

    def count(self, model: Any, image: jax.Array) -> Any:
        return len(_ensemble(model))

    def each(
        self,
        function: Any,
        model: Any,
        image: jax.Array,
        label: Any,
        key: jax.Array,
        *own,
    ) -> Any:
        # A loop: a vmap over weights would make grouped convolutions, and networks
        # may differ.
        keys = _split(key, len(_ensemble(model)))
        found = []
        for i, member in enumerate(_ensemble(model)):
            one_key, *mine = _entry((keys, *own), i)
            found.append(function(member, image, label, one_key, *mine))
        return jax.tree.map(
            lambda *parts: jnp.stack(list(map(jnp.asarray, parts))), *found
        )


@struct.dataclass
class Images:
    """The images of a group: the image is [K, h, w, c] and the label [K]."""

    groups: ClassVar[bool] = True

    def count(self, model: Any, image: jax.Array) -> Any:
        return image.shape[0]

    def each(
        self,
        function: Any,
        model: Any,
        image: jax.Array,
        label: Any,
        key: jax.Array,
        *own,
    ) -> Any:
        keys = _split(key, image.shape[0])
        return jax.vmap(lambda *of_one: function(model, *of_one))(
            image, label, keys, *own
        )


@struct.dataclass
class Transforms:
    """Transformations of one image; random ones are drawn anew at every call.

    Attributes:
      parts: K of `jaxadv.objectives.transforms`.
    """

    parts: Any = specs.part(
        lambda: transforms.TRANSFORMS, default=transforms.deterministic()
    )

    def __post_init__(self):
        if not isinstance(self.parts, (tuple, list)) or not self.parts:
            raise specs.UsageError(
                f"Transforms.parts is {self.parts!r}; it must be a list of transforms"
            )

    def count(self, model: Any, image: jax.Array) -> Any:
        return len(self.parts)

    def each(
        self,
        function: Any,
        model: Any,
        image: jax.Array,
        label: Any,
        key: jax.Array,
        *own,
    ) -> Any:
        count = len(self.parts)
        keys = _split(key, 2 * count)
        views = jnp.stack(
            [part(image, _entry(keys, i)) for i, part in enumerate(self.parts)]
        )
        of_models = _entry(keys, slice(count, None))
        return jax.vmap(lambda view, *rest: function(model, view, label, *rest))(
            views, of_models, *own
        )


DOMAINS = Registry(
    "domains", {"images": Images, "models": Models, "transforms": Transforms}
)


@struct.dataclass
class Weighted:
    """The weighted sum of an objective over K domains; success breaks all of them.

    With equal weights it is the average case: a plain ensemble attack, a universal
    perturbation or, over transformations, the expectation over them. Any attack that
    asks the objective alone takes it; `attacks.MinMax` moves the weights.

    Attributes:
      over: what the domains are.
      objective: what is made larger in each.
      weights: [K] that sum to 1, or None for 1 / K each. With another sum they would
        be a factor on the objective, and on every step that follows its gradient.
      targets: the class that each domain's objective is given: "label", or the
        domain's own "prediction" on the clean image. Success is asked of the label.
      own: each domain's objective and class, stacked; set by `bind`.

    Example:
      >>> one = ja.Classifier.from_function(lambda w, x, key: x.ravel(), None)
      >>> two = ja.Classifier.from_function(lambda w, x, key: -x.ravel(), None)
      >>> both = ja.Weighted(objective=ja.Margin(), weights=jnp.array([0.75, 0.25]))
      >>> image = jnp.array([0.2, 0.6]).reshape(1, 2, 1)
      >>> value = both.bind((one, two), image, 1)((one, two), image, 1, None)
      >>> round(float(value), 4)  # of margins -0.4 and 0.4
      -0.2
    """

    over: Any = specs.part(lambda: DOMAINS, Models())
    objective: Any = specs.part(lambda: objectives.OBJECTIVES, CrossEntropy())
    weights: Any = specs.leaf(None, minimum=0.0)
    targets: str = specs.static("label", choices=("label", "prediction"))
    own: Any = specs.bound()

    def __post_init__(self):
        specs.check(self)
        _check_sum(self.weights)

    def restarted(self, restart: Any) -> Any:
        inner = protocols.restarted(self.objective, restart)
        return self.replace(objective=inner)  # type: ignore[attr-defined]

    def bind(self, model: Any, image: jax.Array, label: Any, key: Any = None) -> Any:
        def one(model, image, label, key):
            if self.targets == "prediction":
                noise = streams.stream(key, "network")
                label = jnp.argmax(jax.lax.stop_gradient(model(image, noise)))
            return protocols.bind(self.objective, model, image, label, key), label

        own = self.over.each(one, model, image, label, key)
        return self.replace(own=own)  # type: ignore[attr-defined]

    def initial(self, model: Any, image: jax.Array) -> jax.Array:
        """[K] the weights as an array.

        Raises:
          UsageError: there are not K of them.
        """
        count = self.over.count(model, image)
        if self.weights is None:
            return uniform(count)
        weights = jnp.asarray(self.weights, float)
        if weights.shape != (count,):
            raise specs.UsageError(
                f"Weighted.weights has shape {weights.shape}; give one for each of "
                f"the {count} domains"
            )
        return weights

    def losses(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        """[K] the objective in each domain."""

        def one(model, image, label, key, own=(self.objective, None)):
            objective, target = own
            return objective(model, image, label if target is None else target, key)

        bound = () if self.own is None else (self.own,)
        return self.over.each(one, model, image, label, key, *bound)

    def goals(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        """[K] the objective's `goal` in each domain: at least 0 where it is broken."""

        def one(model, image, label, key):
            return base.goal_at(self.objective, model, image, label, key)

        return self.over.each(one, model, image, label, key)

    def goal_at(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        return jnp.min(self.goals(model, image, label, key))

    def __call__(
        self, model: Any, image: jax.Array, label: Any, key: Any = None
    ) -> jax.Array:
        losses = self.losses(model, image, label, key)
        return jnp.sum(self.initial(model, image) * losses)


def groups(
    labels: np.ndarray, size: int, seed: int = 0, by_class: bool = False
) -> np.ndarray:
    """Divides examples into groups of equal size, in random order.

    Args:
      labels: [n] class indices.
      size: images of a group; examples that fill none are left out.
      seed: of the order.
      by_class: whether all images of a group have one label.

    Returns:
      [n_groups, size] positions in `labels`, no two equal.

    Raises:
      UsageError: no group can be filled.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    found = list(_grouped(np.asarray(labels)[order], size, by_class))
    if not found:
        raise specs.UsageError(
            f"size of a group is {size}; the {len(labels)} examples fill none"
        )
    return order[np.concatenate(found)]


def _grouped(labels: np.ndarray, size: int, by_class: bool) -> Iterator[np.ndarray]:
    kinds = labels if by_class else np.zeros_like(labels)
    for kind in np.unique(kinds):
        of_kind = np.flatnonzero(kinds == kind)
        if len(of_kind) >= size > 0:
            yield of_kind[: len(of_kind) // size * size].reshape(-1, size)


def _check_sum(weights):
    """Raises UsageError unless weights sum to 1; traced ones pass unseen."""
    if isinstance(weights, (tuple, list)):
        concrete = all(isinstance(w, numbers.Real) for w in weights)
    else:
        concrete = isinstance(weights, (np.ndarray, jax.Array)) and weights.ndim == 1
        concrete = concrete and not isinstance(weights, Tracer)
    if not concrete:
        return
    total = float(np.sum(np.asarray(weights, float)))
    if not abs(total - 1) <= _SUM:
        raise specs.UsageError(
            f"Weighted.weights is {weights}, which sums to {total:.4g}; weights must "
            "sum to 1: divide each by their sum"
        )


def _ensemble(model):
    return model if isinstance(model, tuple) else (model,)


def _split(key, count):
    return None if key is None else jax.random.split(key, count)


def _entry(tree, index):
    return jax.tree.map(lambda x: x[index], tree)
