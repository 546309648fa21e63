"""What both drivers share: the result, and the parts of one image's search."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import protocols, struct
from jaxadv.attacks.base import select
from jaxadv.classifier import obstacle
from jaxadv.numerics import streams
from jaxadv.objectives import goal_at
from jaxadv.specs import UsageError


@struct.dataclass
class Adversarial:
    """What an attack returns; every array has a leading batch axis.

    Attributes:
      image: [b, h, w, c] in [0, 1], inside the threat's budget also where the
        attack failed.
      success: [b] whether the goal holds at `image`, recomputed there.
      margin: [b] the objective's `goal` at `image`; success is margin >= 0, and NaN
        says that the network's output is not a number.
      size: [b] the threat's `size` of the returned perturbation.
      steps_used: [b] attack steps taken, over all restarts.
    """

    image: Any
    success: Any
    margin: Any
    size: Any
    steps_used: Any


def worst(a: Adversarial, b: Adversarial) -> Adversarial:
    """The stronger of two results per example: success first, then margin.

    Steps add up. Works on host arrays and on traced ones, with or without a batch
    axis. A NaN margin wins over a finite one, so that it cannot be hidden.
    """
    np_like = np if isinstance(a.margin, np.ndarray) else jnp
    better = np_like.isnan(b.margin) | (b.margin > a.margin)
    choose_b = (b.success & ~a.success) | ((b.success == a.success) & better)
    choose_b = choose_b & ~np_like.isnan(a.margin)

    def pick(x, y):
        shape = choose_b.shape + (1,) * (x.ndim - choose_b.ndim)
        return np_like.where(choose_b.reshape(shape), y, x)

    merged = jax.tree.map(pick, a, b)
    return merged.replace(steps_used=a.steps_used + b.steps_used)


def example_key(key: jax.Array, example: Any) -> Any:
    """The key of one example: that of the run and its id decide all that is drawn."""
    return jax.random.fold_in(raw_key(key), example)


def draws_key(key: Any, restart: Any) -> Any:
    """The key that an objective is bound with, of an example's key and a restart."""
    return streams.stream(jax.random.fold_in(key, restart), "objective")


def begin(
    attack: Any,
    restart: Any,
    model: Any,
    key: jax.Array,
    image: jax.Array,
    label: jax.Array,
) -> Any:
    """(the bound attack, its state before the first step) of one restart.

    Args:
      key: the example's.
    """
    own = bound(attack, restart, model, key, image, label)
    return own, own.init(jax.random.fold_in(key, restart), model, image, label)


def step_of(attack: Any, model: Any, image: jax.Array, label: jax.Array) -> Any:
    """One step, state -> state, which changes nothing where the attack is done."""

    def step(state):
        try:
            stepped = attack.step(state, model, image, label)
        except (ValueError, TypeError, NotImplementedError):
            _refuse_without_gradient(attack, model, image)
            raise
        return select(state.done, state, stepped)

    return step


def _refuse_without_gradient(attack, model, image):
    """Raises UsageError if the attack needs a gradient that the network has not."""
    grouped = jnp.ndim(image) > 3
    why = obstacle(model, image[0] if grouped else image)
    if why and protocols.takes_gradient(attack):
        raise UsageError(
            f"{type(attack).__name__} needs a gradient and the network has none ({why})"
            ": write its loops as lax.scan or as fori_loop with fixed counts, give it "
            "a derivative of its own (jax.custom_vjp), or attack without gradients, as "
            "square, uniform_noise and grid do"
        ) from None


def verified(
    attack: Any, state: Any, model: Any, image: jax.Array, label: jax.Array
) -> Adversarial:
    """The result for one image; success and size are found anew at what is returned."""
    params = attack.finish(state, model, image, label)
    adversarial = attack.threat.apply(params, image)
    exact = protocols.full_precision(model)
    key = streams.stream(state.key, "verification")
    with jax.default_matmul_precision("highest"):
        margin = goal_at(attack.objective, exact, adversarial, label, key)
    size = attack.threat.size(params, image)
    return Adversarial(adversarial, margin >= 0, margin, size, state.count)


def bound(
    attack: Any,
    restart: Any,
    model: Any,
    key: jax.Array,
    image: jax.Array,
    label: jax.Array,
) -> Any:
    """The attack with all that depends on restart and clean image filled in.

    What the objective draws for the clean image, as a target, is the example's own and
    another in each restart; a network inside the threat measures with one key
    throughout, as the evaluation does.
    """
    fixed = jax.random.key_data(jax.random.key(0))
    own = draws_key(key, restart)
    objective = protocols.restarted(attack.objective, restart)
    return attack.replace(
        threat=protocols.bind(attack.threat, model, image, label, fixed),
        objective=protocols.bind(objective, model, image, label, own),
    )


def with_fields(attack: Any, fields: Any) -> Any:
    """The attack with other values at paths such as "threat.eps"."""
    for path, value in fields.items():
        attack = _replaced(attack, path.split("."), value)
    return attack


def _replaced(part, path, value):
    if len(path) > 1:
        value = _replaced(getattr(part, path[0]), path[1:], value)
    return part.replace(**{path[0]: value})


def raw_key(key: jax.Array) -> Any:
    """Key data, because typed keys leave the device on their way through pmap."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(key)
    return key
