"""The attack inside a defense: checked, started, and with a budget for each image."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import protocols, specs, struct
from jaxadv.attacks.base import normal_start
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.craft import arguments, craft, joint
from jaxadv.defenses import base
from jaxadv.numerics import streams
from jaxadv.threats import lp


def only(defense: Any) -> Any:
    """The one attack of `defense.attacks`.

    Raises:
      UsageError: there are none or several, or it has no objective to replace.
    """
    name, attacks = type(defense).__name__, defense.attacks
    if len(attacks) != 1:
        raise specs.UsageError(
            f"{name} needs exactly one attack, not {len(attacks)}; set config.attack"
        )
    if not protocols.is_attack(attacks[0]):
        kind = type(attacks[0]).__name__
        raise specs.UsageError(f"{name}: the attack {kind} has no objective")
    return attacks[0]


def with_budgets(defense: Any) -> Any:
    """The one attack, whose `threat.eps` may differ by image.

    Raises:
      UsageError: as `only`, or the threat has no eps of its own.
    """
    attack = only(defense)
    if "threat.eps" not in dict(arguments.numbers(attack)):
        raise specs.UsageError(
            f"{type(defense).__name__}: the threat {type(attack.threat).__name__} has "
            "no eps of its own to scale; take linf or l2"
        )
    return attack


def linf(defense: Any) -> Any:
    """The one attack, in an l-infinity ball.

    Raises:
      UsageError: as `only`, or its threat is another one.
    """
    attack = only(defense)
    if not isinstance(attack.threat, lp.Linf):
        raise specs.UsageError(
            f"{type(defense).__name__}: the attack's threat is a "
            f"{type(attack.threat).__name__}; give config.attack.threat.name=linf"
        )
    return attack


def ascent(defense: Any) -> Any:
    """The one attack, a PGD in an l-infinity or l2 ball with a relative step.

    Raises:
      UsageError: it is another one.
    """
    attack, kind = only(defense), Ascent
    name = type(defense).__name__
    if type(attack) is not kind or not isinstance(attack.threat, (lp.Linf, lp.L2)):
        raise specs.UsageError(
            f"{name}: the attack must be 'pgd' with the threat 'linf' or 'l2'"
        )
    if attack.rel_step_size is None:
        raise specs.UsageError(
            f"{name}: the attack's step_size is {attack.step_size}, one for all "
            "budgets; give rel_step_size, a fraction of each image's own"
        )
    return attack


def started(attack: Any, objective: Any, deviation: float | None) -> Any:
    """`attack` with another objective and, unless None, a `GaussianStart`."""
    attack = attack.replace(objective=objective)
    if deviation is None:
        return attack
    return attack.replace(threat=GaussianStart(attack.threat, deviation))


def crafted(
    attack: Any, state: Any, params: Any, batch: Any, key: jax.Array
) -> jax.Array:
    """The batch's images [b, h, w, c], attacked."""
    craft_key, _ = jax.random.split(key)
    images, labels, ids = batch["image"], batch["label"], batch["id"]
    model = state.network.target(params, state.batch_stats)
    return craft(
        attack, model, craft_key, images, labels, ids=ids, features=base.features(batch)
    ).image


def two_passes(
    attack: Any,
    state: Any,
    params: Any,
    batch: Any,
    key: jax.Array,
    attacked: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, Any, dict[str, jax.Array]]:
    """Clean images and then attacked ones, each through a pass of its own.

    Both are in train mode, normalized by their own batch's statistics, and move the
    running ones in turn. The gradient flows through both. Images that have been
    `attacked` by `crafted` with the same key are taken as they are.

    Returns:
      Logits [b, classes] of the clean and of the attacked images; the moved running
      statistics; the metrics `clean_accuracy` and `robust_accuracy`.
    """
    if attacked is None:
        attacked = crafted(attack, state, params, batch, key)
    _, train_key = jax.random.split(key)
    images, labels, ids = batch["image"], batch["label"], batch["id"]
    network, batch_stats = state.network, state.batch_stats
    keys = jax.random.split(train_key)
    clean, batch_stats = network.train(params, batch_stats, images, keys[0], ids)
    moved, batch_stats = network.train(params, batch_stats, attacked, keys[1], ids)
    metrics = {
        "clean_accuracy": jnp.mean(base.correct(clean, labels)),
        "robust_accuracy": jnp.mean(base.correct(moved, labels)),
    }
    return clean, moved, batch_stats, metrics


def attacked_pass(
    state: Any, params: Any, batch: Any, attacked: jax.Array, key: jax.Array
) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
    """The mean loss of attacked images [b, h, w, c] alone, in one pass.

    Returns:
      The loss, the moved running statistics and the metric `robust_accuracy`.
    """
    _, losses, hits, batch_stats, metrics = base.one_pass(
        state, params, batch, [attacked], key, 0.0
    )
    metrics["robust_accuracy"] = jnp.mean(hits)
    return jnp.mean(losses), batch_stats, metrics


def clean_logits(
    model: Any, key: jax.Array, images: jax.Array, ids: jax.Array
) -> jax.Array:
    """Logits [b, classes] of the clean images, by the network under attack."""
    keys = joint.example_keys(streams.stream(key, "network"), ids)
    return base.logits_of(model, images, keys)


def remembered(memory: Any, ids: jax.Array, eps: jax.Array) -> Any:
    """The memory {"eps": [examples]} with the budgets `eps` [b] of examples `ids`."""
    return base.remember(memory, ids, {"eps": eps.astype(jnp.float32)})


@struct.dataclass
class GaussianStart:
    """A threat that starts from a Gaussian instead of its own random start.

    Attributes:
      threat: whose start is replaced.
      deviation: of the Gaussian, in the threat's own units.
    """

    threat: Any
    deviation: float

    @property
    def eps(self) -> Any:
        return self.threat.eps

    @property
    def budget(self) -> Any:
        return self.threat.budget

    def bind(
        self, model: Any, image: jax.Array, label: jax.Array, key: jax.Array
    ) -> Any:
        return self.replace(  # type: ignore[attr-defined]
            threat=protocols.bind(self.threat, model, image, label, key)
        )

    def init(self, key: jax.Array, image: jax.Array) -> Any:
        return normal_start(self.threat, key, image, self.deviation)

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        return self.threat.apply(params, image)

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        return self.threat.direction(grad, params, image)

    def maximize(self, grad: Any, image: jax.Array) -> Any:
        return self.threat.maximize(grad, image)

    def project(self, params: Any, image: jax.Array) -> Any:
        return self.threat.project(params, image)

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        return self.threat.size(params, image)
