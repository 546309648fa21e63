"""Where searches begin: at which images the first gradient is zero."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import protocols
from jaxadv.attacks.base import input_gradient
from jaxadv.craft import base
from jaxadv.craft.features import filled
from jaxadv.evaluation.checks import results
from jaxadv.evaluation.checks.base import Probe
from jaxadv.objectives import score


def blind(probe: Probe, attacks: Iterable[Any]) -> dict[str, np.ndarray]:
    """Label -> [n] at which images the first gradient of a search is exactly zero.

    It is that of the attack's own objective at its own start. So it shows what no
    gradient of a loss at the clean image does: an objective that is smallest there, or
    a perturbation that has no slope where it is nothing. Left out are attacks that
    take no gradient, and those that minimize a norm: they leave such a point at random.

    Args:
      probe: the network and the images.
      attacks: each with `label` and `attack`.
    """
    searches = {
        planned.label: planned.attack
        for planned in attacks
        if protocols.takes_gradient(planned.attack)
        and not protocols.minimizes(planned.attack)
    }
    if not searches:
        return {}
    rows = np.arange(len(probe)), probe.images, probe.labels
    return {
        label: np.asarray(
            _zero(attack, probe.model, *rows, filled(attack, {}, probe.features))
        )
        for label, attack in searches.items()
    }


def alone(blind: dict[str, np.ndarray], attacks: Iterable[Any]) -> bool:
    """Whether all attacks of one threat are blind at one and the same image."""
    groups = [[p.label for p in group] for group in results.by_threat(attacks)]
    return any(
        all(label in blind for label in labels)
        and bool(np.any(np.all([blind[label] for label in labels], axis=0)))
        for labels in groups
    )


@jax.jit
def _zero(attack, model, ids, images, labels, fields):
    def one(example, image, label, fields):
        key = base.example_key(jax.random.key(0), example)
        given = base.with_fields(attack, fields)
        own, state = base.begin(given, 0, model, key, image, label)

        def value(params):
            here = own.threat.apply(params, image)
            return score(own.objective, model, here, label, key)

        leaves = jax.tree.leaves(input_gradient(value, state.params))
        return ~jnp.any(jnp.stack([jnp.any(leaf != 0) for leaf in leaves]))

    with jax.default_matmul_precision("highest"):
        return jax.vmap(one)(ids, images, labels, fields)
