"""Searches in which several attacks, or all images, share what a step is made of.

`search` moves several types of attack of one image together, weighed by their losses;
`ascend` moves one perturbation of all images. Both are pure, for training steps.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import numerics, parallel, protocols
from jaxadv.mapped import IMAGES
from jaxadv.numerics import loops, projections, streams
from jaxadv.objectives import cross_entropy, domains
from jaxadv.threats import lp

GRAM = 1e-6  # added to the diagonal of the Gram matrix, which may be singular

_PROJECT = {"linf": projections.project_linf, "l2": projections.project_l2}


def search(rule: Any, model: Any, key: jax.Array, batch: Any, start: jax.Array) -> Any:
    """Several types of attack that step together: perturbed images and their weights.

    Args:
      rule: how they are weighed and what they climb; see `defenses.Generalized`.
      model: a Classifier.
      key: of the attacks' starts.
      batch: images [b, h, w, c], labels [b] and ids [b].
      start: [b, K] the first weights; [K] where a batch shares them.

    Returns:
      images [b, K, h, w, c] and weights [b, K], gradients stopped.
    """

    def one(image, label, own_key, weights):
        return _search(rule, model, own_key, image, label, weights)

    keys = example_keys(key, batch["id"])
    over = 0 if rule.share == "example" else None
    found = jax.vmap(one, (0, 0, 0, over), axis_name=IMAGES)(
        batch["image"], batch["label"], keys, start
    )
    return jax.lax.stop_gradient(found)


def _search(rule, model, key, image, label, weights):
    attacks, params = [], []
    for i, attack in enumerate(rule.attacks):
        own = jax.random.fold_in(key, i)
        noise = streams.stream(own, "network")
        threat = protocols.bind(attack.threat, model, image, label, noise)
        attacks.append(attack.replace(threat=threat))
        params.append(attacks[i].init(own, model, image, label).params)
    bound = rule.replace(attacks=tuple(attacks))

    def step(state):
        return _step(bound, model, state, image, label, key)

    state = (tuple(params), weights, jnp.zeros((), jnp.int32))
    params, weights, _ = loops.repeat(rule.attacks[0].steps, step, state)
    return _applied(attacks, params, image), weights


def _moved(rule, attack, params, grad, image):
    direction = jax.tree.map(numerics.finite_or_zero, grad)
    if rule.gradient == "steepest":
        direction = attack.along(direction, params, image)
    move = attack.move(direction)
    return attack.threat.project(jax.tree.map(jnp.add, params, move), image)


def _step(rule, model, state, image, label, key):
    """One joint step of one image."""
    params, weights, count = state
    key = jax.random.fold_in(streams.stream(key, "network"), count)
    equal = domains.uniform(len(params))
    factors = weights if rule.gradient == "raw" else equal

    def value(params):
        images = _applied(rule.attacks, params, image)
        if not rule.diversity:
            losses = jax.vmap(_loss_at, (None, 0, None, None))(
                model, images, label, key
            )
            return jnp.sum(factors * losses), losses
        losses, grads = input_gradients(model, images, label, key)
        spread = log_det(grads)
        return jnp.sum(factors * losses) + rule.diversity * spread, losses

    grads, losses = jax.grad(value, has_aux=True)(params)
    moved = tuple(
        _moved(rule, *parts, image)
        for parts in zip(rule.attacks, params, grads, strict=True)
    )
    if rule.weighting == "min_max":
        if rule.share == "batch":
            finite = numerics.finite_or_zero(losses)  # one image must not stop all
            losses = jax.lax.pmean(finite, (IMAGES, parallel.AXIS))
        weights = domains.ascend(weights, losses, rule.weight_step, rule.gamma)
    return moved, weights, count + 1


def log_det(grads: jax.Array) -> jax.Array:
    """log det(G'G + 1e-6 I), the columns of G being gradients of length 1.

    At most about 0, for orthogonal gradients; for two at an angle a, log sin(a)^2,
    however short they are. One that is zero adds log 1e-6.
    Source: Wang et al., 2019, eq. 16, after Pang et al., "Improving adversarial
    robustness via promoting ensemble diversity", 2019, whose 1e-6 it is.

    Args:
      grads: [k, ...], one input gradient a row.
    """
    rows = jax.vmap(numerics.safe_normalize)(grads.reshape(len(grads), -1))
    gram = jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.linalg.slogdet(gram + GRAM * jnp.eye(len(rows)))[1]


def _loss_at(model, image, label, key):
    return cross_entropy(model(image, key), label)


def input_gradients(
    model: Any, images: jax.Array, label: jax.Array, key: jax.Array
) -> Any:
    """Losses [k] and input gradients [k, h, w, c] of one image's perturbed forms."""

    def one(image):
        return _loss_at(model, image, label, key)

    return jax.vmap(jax.value_and_grad(one))(images)


def diversity(model: Any, images: jax.Array, label: jax.Array, key: jax.Array) -> Any:
    """`log_det` of the input gradients at images [k, h, w, c] of one label."""
    return log_det(input_gradients(model, images, label, key)[1])


def _applied(attacks, params, image):
    pairs = zip(attacks, params, strict=True)
    return jnp.stack([attack.threat.apply(point, image) for attack, point in pairs])


def example_keys(key: jax.Array, ids: Any) -> Any:
    """[b] keys of the examples."""
    return jax.vmap(lambda example: jax.random.fold_in(key, example))(ids)


def ascend(
    attack: Any,
    model: Any,
    delta: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """`delta` after the attack's steps towards the largest mean loss of all devices.

    Call it under an axis `parallel.AXIS`, with one device's part of the images.

    Args:
      attack: PGD in an linf or l2 ball.
      model: a Classifier.
      delta: [h, w, c], the perturbation of every image.
      images: [b, h, w, c] in [0, 1].
      labels: [b].
      key: of the model's own randomness.

    Returns:
      [h, w, c] inside the ball, gradients stopped; equal on all devices.
    """
    threat, keys = attack.threat, jax.random.split(key, len(images))

    def step(state):
        delta, count = state

        def value(delta):
            def one(image, label, own_key):
                return cross_entropy(model(lp.apply(delta, image), own_key), label)

            return jnp.mean(jax.vmap(one, axis_name=IMAGES)(images, labels, keys))

        grad = jax.lax.pmean(jax.grad(value)(delta), parallel.AXIS)
        moved = delta + attack.move(numerics.steepest(grad, threat.norm), count)
        # No image has room for more than 1; its own box is the clip in `apply`.
        room = jnp.ones_like(moved)
        moved = _PROJECT[threat.norm](moved, threat.eps, -room, room)
        return moved, count + 1

    start = delta, jnp.zeros((), jnp.int32)
    moved, _ = loops.repeat(attack.steps, step, start)
    return jax.lax.stop_gradient(moved)
