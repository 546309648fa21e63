"""TRADES: accuracy traded against the stability of the prediction."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxadv import specs, struct
from jaxadv.defenses import base, inner
from jaxadv.objectives import KL, kl_divergence


@struct.dataclass
class Trades:
    """CE(f(x), y) + beta KL(f(x) || f(x')), x' maximizing the same divergence.

    Source: Zhang, Yu, Jiao, Xing, El Ghaoui and Jordan, "Theoretically principled
    trade-off between robustness and accuracy", 2019, eq. 5 and algorithm 1. The
    gradient flows through both arguments of the divergence. Two forward passes in
    train mode, clean and then attacked, are each normalized by their own batch's
    statistics and move the running ones in turn; the authors' code runs the clean
    pass twice, which changes nothing but the running statistics.

    Attributes:
      attacks: a tuple of one attack; its objective is replaced by the divergence.
      beta: weight of the divergence.
      start: standard deviation, in the threat's own units, of the Gaussian that
        the attack starts from; None for the attack's own start. The divergence
        has no gradient at the image itself.
    """

    attacks: Any = specs.given()
    beta: float = specs.static(6.0, minimum=0.0)
    start: float | None = specs.static(0.001, minimum=0.0)
    takes_targets: ClassVar[bool] = True

    def __post_init__(self):
        specs.check(self)
        inner.only(self)
        if self.start == 0:
            raise specs.UsageError(
                "Trades.start is 0.0, the image itself, where the divergence has no "
                "gradient; give a larger one, as 0.001, or None for the attack's own"
            )
        self._inner()

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return ()

    def craft(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> jax.Array:
        return inner.crafted(self._inner(), state, params, batch, key)

    def loss(
        self,
        params: Any,
        state: Any,
        batch: dict[str, jax.Array],
        key: jax.Array,
        crafted: Any = None,
    ) -> tuple[jax.Array, base.Output]:
        clean, moved, batch_stats, metrics = inner.two_passes(
            self._inner(), state, params, batch, key, crafted
        )
        natural = jnp.mean(base.cross_entropies(clean, base.wanted(batch)))
        divergence = jnp.mean(jax.vmap(kl_divergence)(clean, moved))
        metrics["divergence"] = divergence
        loss = natural + self.beta * divergence
        return loss, base.Output(batch_stats, state.memory, metrics)

    def _inner(self):
        return inner.started(inner.only(self), KL(), self.start)
