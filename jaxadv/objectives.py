"""What an attack makes larger.

An objective is called as `objective(model, image, label, key) -> scalar` on one
image; `goal(logits, label)` is at least 0 exactly where the attack has succeeded. An
objective that asks more than one network or image has `goal_at(model, image, label,
key)` in its place.
An objective that depends on the clean image has `bind(model, image, label, key)`,
which the drivers call before the attack starts; one that differs from restart to
restart has `restarted(number)`, which they call before that.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxadv import arrays, specs, struct


def cross_entropy(logits: jax.Array, label: ArrayLike) -> jax.Array:
    """-log softmax(logits [classes])[label], in nats."""
    return jax.nn.logsumexp(logits) - logits[label]


def margin(logits: jax.Array, label: ArrayLike) -> jax.Array:
    """Largest other logit minus the label's: positive where misclassified.

    A tie goes to the attacker: an image counts as correctly classified only where
    this is negative, so a constant network has accuracy 0, not 1.
    """
    others = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
    return jnp.max(others) - logits[label]


def kl_divergence(reference: jax.Array, logits: jax.Array) -> jax.Array:
    """KL(softmax(reference) || softmax(logits)) of two [classes], in nats."""
    log_p, log_q = jax.nn.log_softmax(reference), jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q))


def dlr(logits: jax.Array, label: ArrayLike) -> jax.Array:
    """Difference-of-logits ratio, invariant to shift and scale of the logits.

    With two classes the ratio is constant, so the plain margin is returned.
    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with
    an ensemble of diverse parameter-free attacks", 2020, eq. 6.
    """
    if logits.shape[0] < 3:
        return margin(logits, label)
    top = jax.lax.top_k(logits, 3)[0]
    return margin(logits, label) / _positive(top[0] - top[2])


def targeted_dlr(logits: jax.Array, label: ArrayLike, target: ArrayLike) -> jax.Array:
    """DLR towards `target`: larger as the target's logit passes the label's.

    The third and fourth largest logits make the scale. With fewer than four classes
    there is none: a ratio of three would be constant where the target ranks last.
    Source: as `dlr`, eq. 7.
    """
    gap = logits[target] - logits[label]
    if logits.shape[0] < 4:
        return gap
    top = jax.lax.top_k(logits, 4)[0]
    return gap / _positive(top[0] - jnp.mean(top[2:]))


def expected_logits(model, image, key, draws: int = 1) -> jax.Array:
    """The log of the mean probabilities over `draws` keys, [classes].

    One draw gives the network's own logits.
    """
    if draws == 1:
        return model(image, key)
    return log_mean(drawn(model, image, key, draws))


def drawn(model, image, key, draws: int) -> jax.Array:
    """Log probabilities [draws, classes], each draw with a key of its own."""
    keys = jax.random.split(key, draws)
    return jax.vmap(lambda k: jax.nn.log_softmax(model(image, k)))(keys)


def log_mean(found: jax.Array) -> jax.Array:
    """[classes], of what `drawn` returned the log of the mean probabilities."""
    return jax.nn.logsumexp(found, axis=0) - jnp.log(found.shape[0])


def goal_at(objective, model, image, label, key) -> jax.Array:
    """The objective's `goal` at `image`, of the mean prediction if it takes draws.

    Beside a gradient of the same objective at the same image and key the network
    is not run again: the compiler merges the two equal forward passes.
    """
    if hasattr(objective, "goal_at"):
        return objective.goal_at(model, image, label, key)
    draws = getattr(objective, "samples", 1)
    return objective.goal(expected_logits(model, image, key, draws), label)


def _positive(scale):
    return jnp.maximum(scale, 1e-12)


@struct.dataclass
class CrossEntropy:
    """Cross-entropy to the label, in nats."""

    goal = staticmethod(margin)

    def __call__(self, model, image, label, key=None):
        return cross_entropy(model(image, key), label)


@struct.dataclass
class Margin:
    """The logit margin, flat beyond `kappa`.

    Source: Carlini and Wagner, "Towards evaluating the robustness of neural
    networks", 2017, objective f6 with confidence kappa.
    """

    kappa: float = specs.leaf(float("inf"), minimum=0.0, infinite=True)

    __post_init__ = specs.check
    goal = staticmethod(margin)

    def __call__(self, model, image, label, key=None):
        return jnp.minimum(margin(model(image, key), label), self.kappa)


@struct.dataclass
class DLR:
    """Difference-of-logits ratio; see `dlr`."""

    goal = staticmethod(margin)

    def __call__(self, model, image, label, key=None):
        return dlr(model(image, key), label)


@struct.dataclass
class KL:
    """KL divergence from the clean prediction, in nats.

    Source: Zhang et al., "Theoretically principled trade-off between robustness
    and accuracy", 2019, eq. 5.

    Attributes:
      reference: [classes] logits of the clean image; set by `bind`.
    """

    reference: Any = specs.bound()

    goal = staticmethod(margin)

    def bind(self, model, image, label, key=None):
        reference = jax.lax.stop_gradient(model(image, key))
        return self.replace(reference=reference)  # type: ignore[attr-defined]

    def __call__(self, model, image, label, key=None):
        return kl_divergence(self.reference, model(image, key))


def _target(target, logits):
    """`target`, which is the index of a logit where that is known.

    Raises:
      UsageError: it is none; indexing would clamp it to the last.
    """
    known = arrays.concrete(target)
    if known is not None:
        arrays.check_classes(known, logits.shape[0], None, "target")
    return target


@struct.dataclass
class TargetedCrossEntropy:
    """Minus the cross-entropy to `target` (a class index), in nats."""

    target: int = specs.class_index()

    __post_init__ = specs.check

    def goal(self, logits, label):
        return -margin(logits, self.target)

    def __call__(self, model, image, label, key=None):
        logits = model(image, key)
        return -cross_entropy(logits, _target(self.target, logits))


@struct.dataclass
class TargetedMargin:
    """The target's logit minus the largest other one, flat beyond `kappa`.

    Source: as `Margin`.
    """

    target: int = specs.class_index()
    kappa: float = specs.leaf(float("inf"), minimum=0.0, infinite=True)

    __post_init__ = specs.check

    def goal(self, logits, label):
        return -margin(logits, self.target)

    def __call__(self, model, image, label, key=None):
        logits = model(image, key)
        return jnp.minimum(-margin(logits, _target(self.target, logits)), self.kappa)


@struct.dataclass
class TargetedDLR:
    """Difference-of-logits ratio towards `target`; see `targeted_dlr`."""

    target: int = specs.class_index()

    __post_init__ = specs.check

    def goal(self, logits, label):
        return -margin(logits, self.target)

    def __call__(self, model, image, label, key=None):
        logits = model(image, key)
        return targeted_dlr(logits, label, _target(self.target, logits))


_TARGETED = {
    "cross_entropy": TargetedCrossEntropy,
    "dlr": TargetedDLR,
    "margin": TargetedMargin,
}


@struct.dataclass
class LikelyTarget:
    """Aims at one wrong class in each restart, the likeliest first.

    Restart r of an attack aims at the class with the (r + 1)-th largest wrong logit
    of the clean image, from the first again where there are fewer. Any wrong class
    is a success. Source: Croce and Hein, "Reliable evaluation of adversarial
    robustness with an ensemble of diverse parameter-free attacks", 2020, section 4.

    Attributes:
      loss: which targeted objective is made larger.
      rank: 0 for the likeliest; set by the driver.
      target: the class; set by `bind`.
    """

    loss: str = specs.static("dlr", choices=tuple(_TARGETED))
    rank: Any = specs.bound()
    target: Any = specs.bound()

    __post_init__ = specs.check
    goal = staticmethod(margin)

    def restarted(self, restart):
        return self.replace(rank=restart)  # type: ignore[attr-defined]

    def bind(self, model, image, label, key=None):
        logits = jax.lax.stop_gradient(model(image, key))
        wrong = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
        order = jnp.argsort(-wrong)
        rank = 0 if self.rank is None else self.rank
        target = order[rank % (logits.shape[0] - 1)]
        return self.replace(target=target)  # type: ignore[attr-defined]

    def __call__(self, model, image, label, key=None):
        return _TARGETED[self.loss](self.target)(model, image, label, key)


@struct.dataclass
class RandomTarget:
    """Aims at one wrong class, each with the same chance; any one is a success.

    Source: Kang et al., "Testing robustness against unforeseen adversaries", 2019,
    section 4.

    Attributes:
      loss: which targeted objective is made larger.
      target: the class; set by `bind`.
    """

    loss: str = specs.static("cross_entropy", choices=tuple(_TARGETED))
    target: Any = specs.bound()

    __post_init__ = specs.check
    goal = staticmethod(margin)

    def bind(self, model, image, label, key):
        classes = jax.eval_shape(model, image, key).shape[0]
        further = jax.random.randint(key, (), 1, classes)
        return self.replace(target=(label + further) % classes)  # type: ignore

    __call__ = LikelyTarget.__call__


@struct.dataclass
class Expectation:
    """The mean of an objective over `samples` keys, for stochastic models.

    Whether an attack has succeeded is asked of the mean prediction over as many
    keys: one lucky draw is no success. Source: Athalye et al., "Synthesizing robust
    adversarial examples", 2018 (expectation over transformation).
    """

    objective: Any = specs.part(lambda: OBJECTIVES, CrossEntropy())
    samples: int = specs.static(16, minimum=1)

    def __post_init__(self):
        specs.check(self)
        check_logits(self, "draws")

    def goal(self, logits, label):
        return self.objective.goal(logits, label)

    def restarted(self, restart):
        return self.replace(  # type: ignore[attr-defined]
            objective=restarted(self.objective, restart)
        )

    def bind(self, model, image, label, key=None):
        return self.replace(  # type: ignore[attr-defined]
            objective=bind(self.objective, model, image, label, key)
        )

    def __call__(self, model, image, label, key):
        keys = jax.random.split(key, self.samples)
        values = jax.vmap(lambda k: self.objective(model, image, label, k))(keys)
        return jnp.mean(values)


def check_logits(part: Any, does: str) -> None:
    """Raises UsageError if the objective of `part` asks more than one network's logits.

    Such an objective has no `goal`; `does` says what `part` needs that for.
    """
    objective = part.objective
    if hasattr(objective, "goal_at") and not hasattr(objective, "goal"):
        raise specs.UsageError(
            f"{type(part).__name__}.objective is a {type(objective).__name__}, which "
            f"has no logits of its own; {type(part).__name__} {does} them: take "
            f"another objective, or put it inside the {type(objective).__name__}"
        )


def bind(part, model, image, label, key):
    """`part` with what depends on the clean image filled in, if it has any."""
    if hasattr(part, "bind"):
        return part.bind(model, image, label, key)
    return part


def restarted(part, restart):
    """`part` as restart number `restart` needs it, if that makes a difference."""
    if hasattr(part, "restarted"):
        return part.restarted(restart)
    return part


OBJECTIVES = {
    "cross_entropy": CrossEntropy,
    "dlr": DLR,
    "expectation": Expectation,
    "kl": KL,
    "likely_target": LikelyTarget,
    "margin": Margin,
    "random_target": RandomTarget,
    "targeted_cross_entropy": TargetedCrossEntropy,
    "targeted_dlr": TargetedDLR,
    "targeted_margin": TargetedMargin,
}
