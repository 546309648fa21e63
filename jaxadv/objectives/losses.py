"""Numbers made of the logits of one image."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

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


def log_odds(logits: jax.Array, label: ArrayLike) -> jax.Array:
    """Log of the summed exp of the other logits minus the label's.

    Below 0 where the label has more than half of the probability, which is more than
    being the likeliest class. It is the soft margin plus the log of the number of other
    classes, with its own derivative, and the cross-entropy is log(1 + exp(log odds)).
    Source: Ding, Sharma, Lui and Huang, "MMA training: direct input space margin
    maximization through adversarial training", 2020, the soft logit margin loss.
    """
    others = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
    # Of differences: the digits that a common shift takes are not missed.
    return jax.nn.logsumexp(others - logits[label])


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


def _scale(spread):
    """What a gap is divided by; 1 where the logits that make it are not there.

    The square of the floor, which the derivative divides by, must not be zero.
    """
    return jnp.where(spread < jnp.inf, jnp.maximum(spread, 1e-18), 1.0)
