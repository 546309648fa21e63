"""What searches and drivers ask of any objective."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import protocols, specs


class Around:
    """What an objective around another one, its field `objective`, takes from it."""

    objective: Any

    def goal(self, logits: jax.Array, label: Any) -> jax.Array:
        return self.objective.goal(logits, label)

    def restarted(self, restart: Any) -> Any:
        inner = protocols.restarted(self.objective, restart)
        return self.replace(objective=inner)  # type: ignore[attr-defined]

    def bind(self, model: Any, image: jax.Array, label: Any, key: Any = None) -> Any:
        inner = protocols.bind(self.objective, model, image, label, key)
        return self.replace(objective=inner)  # type: ignore[attr-defined]


def expected_logits(
    model: Any, image: jax.Array, key: jax.Array, draws: int = 1
) -> jax.Array:
    """The log of the mean probabilities over `draws` keys, [classes].

    One draw gives the network's own logits.
    """
    if draws == 1:
        return model(image, key)
    return log_mean(drawn(model, image, key, draws))


def drawn(model: Any, image: jax.Array, key: jax.Array, draws: int) -> jax.Array:
    """Log probabilities [draws, classes], each draw with a key of its own."""
    keys = jax.random.split(key, draws)
    return jax.vmap(lambda k: jax.nn.log_softmax(model(image, k)))(keys)


def log_mean(found: jax.Array) -> jax.Array:
    """[classes], of what `drawn` returned the log of the mean probabilities."""
    return jax.nn.logsumexp(found, axis=0) - jnp.log(found.shape[0])


def score(
    objective: Any, model: Any, image: jax.Array, label: Any, key: jax.Array
) -> jax.Array:
    """A number that rises and falls with the objective at `image`.

    For searches that compare values or take the gradient's direction: it keeps the
    digits and the gradient that the objective's own value may lose to rounding.
    """
    value = objective.score if protocols.has_score(objective) else objective
    return value(model, image, label, key)


def goal_at(
    objective: Any, model: Any, image: jax.Array, label: Any, key: jax.Array
) -> jax.Array:
    """The objective's `goal` at `image`, of the mean prediction if it takes draws.

    Beside a gradient of the same objective at the same image and key the network
    is not run again: the compiler merges the two equal forward passes.
    """
    if protocols.has_goal_at(objective):
        return objective.goal_at(model, image, label, key)
    draws = protocols.draws(objective)
    return objective.goal(expected_logits(model, image, key, draws), label)


def check_logits(part: Any, does: str) -> None:
    """Raises UsageError if the objective of `part` asks more than one network's logits.

    Such an objective has no `goal`; `does` says what `part` needs that for.
    """
    objective = part.objective
    if protocols.has_goal_at(objective) and not protocols.has_goal(objective):
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
    for objective in protocols.chain(part.objective):
        if protocols.flat_at_image(objective):
            raise specs.UsageError(
                f"{type(part).__name__}.objective is a {type(objective).__name__}, "
                "which has no gradient at the clean image, where this search starts; "
                f"{remedy}"
            )
