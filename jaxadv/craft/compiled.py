"""The driver inside compiled steps."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import protocols
from jaxadv.attacks.base import select
from jaxadv.craft import arguments, base
from jaxadv.craft.base import Adversarial, worst
from jaxadv.mapped import IMAGES
from jaxadv.numerics.loops import repeat
from jaxadv.specs import UsageError


def craft(
    attack: Any,
    model: Any,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    *,
    ids: jax.Array | None = None,
    per_image: Mapping[str, jax.Array] | None = None,
    features: Mapping[str, jax.Array] | None = None,
    debug: bool = False,
) -> Adversarial:
    """Attacks a batch; pure, for use under jit and pmap.

    Args:
      attack: see `jaxadv.attacks`.
      model: a Classifier, or what the attack's objective takes in its place, as a
        tuple of them.
      key: the run's key; an example's own is `fold_in(key, id)`.
      images: [b, h, w, c] in [0, 1], or groups [b, k, h, w, c] for a `Shared` threat.
      labels: [b] class indices, [b, k] of groups.
      ids: [b] example ids; default 0 … b - 1.
      per_image: field path -> [b, …] values of fields that differ by image, as
        `{"threat.eps": radii}`.
      features: of the images in their data set, name -> [b, …], as `{"mask": masks}`;
        parts that want one, as `Masked(…, mask="dataset")`, are filled with it.
      debug: look at the values of traced arguments as well, by a callback to the
        host: slow. What is wrong ends the program with a JaxRuntimeError whose last
        line says so.

    Returns:
      An `Adversarial`, gradients stopped.

    Raises:
      UsageError: an argument is not what it must be. Under jit that is told of
        shapes, dtypes and paths alone; of values see `debug`.

    Example:
      >>> model = ja.Classifier.from_function(lambda w, x, key: x.ravel(), None)
      >>> images = jnp.array([[0.5, 0.4, 0.1, 0.1], [0.9, 0.1, 0.1, 0.1]])
      >>> images, labels = images.reshape(2, 2, 2, 1), jnp.array([0, 0])
      >>> attack = ja.Fgsm(ja.Linf(0.1))
      >>> adv = jax.jit(ja.craft)(attack, model, jax.random.key(0), images, labels)
      >>> adv.success  # the first image is 0.05 from the boundary, the second 0.4
      Array([ True, False], dtype=bool)
      >>> bool((adv.size <= 0.1).all())
      True
    """
    given = arguments.check(
        attack, model, key, images, labels, ids, per_image, debug, features
    )

    def one(image, label, example, fields):
        with_own = base.with_fields(attack, fields)
        own_key = base.example_key(key, example)

        def searched(restart):
            own, state = _searched(with_own, restart, model, own_key, image, label)
            return base.verified(own, state, model, image, label)

        def again(known):
            restart, found = known
            # As the host's loop does, which restarts only the unbroken.
            found = select(found.success, found, worst(found, searched(restart)))
            return restart + 1, found

        first = searched(0)
        if attack.restarts == 1:
            return first
        return repeat(attack.restarts - 1, again, (jnp.ones((), jnp.int32), first))[1]

    mapped = jax.vmap(one, axis_name=IMAGES)
    found = mapped(given.images, given.labels, given.ids, given.fields)
    return jax.lax.stop_gradient(found)


def craft_traced(
    attack: Any,
    model: Any,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    *,
    ids: jax.Array | None = None,
) -> tuple[Adversarial, Any]:
    """As `craft`, with what the attack recorded on its way; pure.

    Returns:
      An `Adversarial` and `attack.trace(…)`, both with a leading batch axis: of
      `MinMax` the weights [b, steps + 1, K].

    Raises:
      UsageError: as for `craft`; or the attack has no `trace`, or several restarts.
    """
    if not protocols.records(attack) or attack.restarts != 1:
        name = type(attack).__name__
        raise UsageError(
            f"craft_traced: {name} with {attack.restarts} restarts; it takes one "
            "restart of an attack with a `trace`, as MinMax"
        )
    given = arguments.check(attack, model, key, images, labels, ids, None)

    def one(image, label, example):
        own_key = base.example_key(key, example)
        own, state = _searched(attack, 0, model, own_key, image, label)
        found = base.verified(own, state, model, image, label)
        return found, own.trace(state, model, image, label)

    return jax.lax.stop_gradient(jax.vmap(one)(given.images, given.labels, given.ids))


def _searched(attack, restart, model, key, image, label):
    """The bound attack and the state after all steps of one restart."""
    own, state = base.begin(attack, restart, model, key, image, label)
    state = repeat(attack.steps, base.step_of(own, model, image, label), state)
    return own, state
