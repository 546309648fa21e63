"""What an attack makes larger.

An objective is called as `objective(model, image, label, key) -> scalar` on one
image; `goal(logits, label)` is at least 0 exactly where the attack has succeeded. An
objective that asks more than one network or image has `goal_at(model, image, label,
key)` in its place.
An objective that is smallest at the clean image, and so has no gradient there, says
so by `flat_at_image`.
An objective that depends on the clean image has `bind(model, image, label, key)`,
which the drivers call before the attack starts; one that differs from restart to
restart has `restarted(number)`, which they call before that. One whose values lose
digits that a search needs has `score`; see the function of that name.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxadv import arrays, specs, streams, struct

# The log odds against the label at which its probability rounds to 1 in float32.
SURE = float(np.log(np.finfo(np.float32).eps))


def cross_entropy(logits: jax.Array, label: ArrayLike) -> jax.Array:
    """-log softmax(logits [classes])[label], in nats."""
    # Of differences of logits: the digits that a common shift takes are not missed.
    return -jax.nn.log_softmax(logits)[label]


def soft_margin(logits: jax.Array, label: ArrayLike) -> jax.Array:
    """Log of the mean exp of the other logits minus the label's.

    With C classes the cross-entropy is log(1 + (C - 1) exp(soft margin)). That rounds
    to 0 where the label is sure and to log(C) where all logits are nearly equal, and
    the soft margin keeps its digits in both cases. Its derivative here is that of the
    cross-entropy, but without the factor that rounds to 0 where the label is sure.
    """
    is_label = jnp.arange(logits.shape[0]) == label
    wrong = jnp.where(is_label, -jnp.inf, logits)
    top = jnp.max(wrong)
    low = jnp.where(is_label, 0.0, jnp.expm1(logits - top))
    mean = jnp.sum(low) / max(logits.shape[0] - 1, 1)
    value = jax.lax.stop_gradient(top - logits[label] + jnp.log1p(mean))
    whole = jax.nn.logsumexp(wrong) - logits[label]
    slope = jnp.where(whole < SURE, whole, cross_entropy(logits, label))
    return value + (slope - jax.lax.stop_gradient(slope))


def margin(logits: jax.Array, label: ArrayLike) -> jax.Array:
    """Largest other logit minus the label's: positive where misclassified.

    A tie goes to the attacker: an image counts as correctly classified only where
    this is negative, so a constant network has accuracy 0, not 1.
    """
    others = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
    return jnp.max(others) - logits[label]


def kl_divergence(reference: jax.Array, logits: jax.Array) -> jax.Array:
    """KL(softmax(reference) || softmax(logits)) of two [classes], in nats.

    A class that the reference gives -inf, and so no probability, adds nothing.
    """
    log_p, log_q = jax.nn.log_softmax(reference), jax.nn.log_softmax(logits)
    possible = log_p > -jnp.inf
    ratio = jnp.where(possible, log_p, 0.0) - jnp.where(possible, log_q, 0.0)
    return jnp.sum(jnp.exp(log_p) * ratio)


def dlr(logits: jax.Array, label: ArrayLike) -> jax.Array:
    """Difference-of-logits ratio, invariant to shift and scale of the logits.

    With two classes the ratio is constant, so the plain margin is returned; a class
    with a logit of -inf is none.
    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with
    an ensemble of diverse parameter-free attacks", 2020, eq. 6.
    """
    if logits.shape[0] < 3:
        return margin(logits, label)
    top = jax.lax.top_k(logits, 3)[0]
    return margin(logits, label) / _scale(top[0] - top[2])


def targeted_dlr(logits: jax.Array, label: ArrayLike, target: ArrayLike) -> jax.Array:
    """DLR towards `target`: larger as the target's logit passes the label's.

    The third and fourth largest logits make the scale. With fewer than four classes
    there is none: a ratio of three would be constant where the target ranks last. A
    class with a logit of -inf is none.
    Source: as `dlr`, eq. 7.
    """
    gap = logits[target] - logits[label]
    if logits.shape[0] < 4:
        return gap
    top = jax.lax.top_k(logits, 4)[0]
    return gap / _scale(top[0] - jnp.mean(top[2:]))


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


def score(objective, model, image, label, key) -> jax.Array:
    """A number that rises and falls with the objective at `image`.

    For searches that compare values or take the gradient's direction: it keeps the
    digits and the gradient that the objective's own value may lose to rounding.
    """
    return getattr(objective, "score", objective)(model, image, label, key)


def goal_at(objective, model, image, label, key) -> jax.Array:
    """The objective's `goal` at `image`, of the mean prediction if it takes draws.

    Beside a gradient of the same objective at the same image and key the network
    is not run again: the compiler merges the two equal forward passes.
    """
    if hasattr(objective, "goal_at"):
        return objective.goal_at(model, image, label, key)
    draws = getattr(objective, "samples", 1)
    return objective.goal(expected_logits(model, image, key, draws), label)


def _scale(spread):
    """What a gap is divided by; 1 where the logits that make it are not there.

    The square of the floor, which the derivative divides by, must not be zero.
    """
    return jnp.where(spread < jnp.inf, jnp.maximum(spread, 1e-18), 1.0)


@struct.dataclass
class CrossEntropy:
    """Cross-entropy to the label, in nats."""

    goal = staticmethod(margin)

    def __call__(self, model, image, label, key=None):
        return cross_entropy(model(image, key), label)

    def score(self, model, image, label, key=None):
        return soft_margin(model(image, key), label)


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
    flat_at_image: ClassVar[bool] = True

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

    def score(self, model, image, label, key=None):
        logits = model(image, key)
        return -soft_margin(logits, _target(self.target, logits))


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
    of the clean image, from the first again where there are fewer; a logit of -inf is
    no class. Any wrong class is a success. Source: Croce and Hein, "Reliable
    evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks", 2020, section 4.

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
        target = order[rank % jnp.maximum(jnp.sum(wrong > -jnp.inf), 1)]
        return self.replace(target=target)  # type: ignore[attr-defined]

    def __call__(self, model, image, label, key=None):
        return _TARGETED[self.loss](self.target)(model, image, label, key)

    def score(self, model, image, label, key=None):
        return score(_TARGETED[self.loss](self.target), model, image, label, key)


@struct.dataclass
class RandomTarget:
    """Aims at one wrong class, each with the same chance; any one is a success.

    Left out are classes that have a logit of -inf at the clean image. Source: Kang et
    al., "Testing robustness against unforeseen adversaries", 2019, section 4.

    Attributes:
      loss: which targeted objective is made larger.
      target: the class; set by `bind`.
    """

    loss: str = specs.static("cross_entropy", choices=tuple(_TARGETED))
    target: Any = specs.bound()

    __post_init__ = specs.check
    goal = staticmethod(margin)

    def bind(self, model, image, label, key):
        noise = streams.stream(key, "network")
        logits = jax.lax.stop_gradient(model(image, noise))
        classes = logits.shape[0]
        wrong = (label + jnp.arange(1, classes)) % classes
        order = jnp.cumsum(logits[wrong] != -jnp.inf)  # of those that can win
        further = jax.random.randint(key, (), 1, jnp.maximum(order[-1], 1) + 1)
        return self.replace(target=wrong[jnp.argmax(order == further)])  # type: ignore

    __call__, score = LikelyTarget.__call__, LikelyTarget.score


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


def check_start(part: Any, remedy: str) -> None:
    """Raises UsageError if `part`, which starts at the image, would never leave it.

    So it is where the gradient of its objective, or of one inside that, is zero at the
    clean image: such an objective says so by `flat_at_image`.
    """
    objective = part.objective
    while objective is not None:
        if getattr(objective, "flat_at_image", False):
            raise specs.UsageError(
                f"{type(part).__name__}.objective is a {type(objective).__name__}, "
                "which has no gradient at the clean image, where this search starts; "
                f"{remedy}"
            )
        objective = getattr(objective, "objective", None)


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
