"""The weight of a margin against a norm, searched in rounds."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import struct

_LARGEST = 1e10


@struct.dataclass
class Constant:
    """Ten times larger from round to round until one breaks the image, then bisected.

    Source: Carlini and Wagner, "Towards evaluating the robustness of neural networks",
    2017, section 6. As there, and not in their code, a round counts as broken by where
    it ends, its second half: the first steps overshoot with any constant.

    Attributes:
      value: [] of this round.
      low: [] the largest that did not break the image, 0 at first.
      high: [] the smallest that did, 1e10 at first.
      broke: [] whether this one has.
    """

    value: jax.Array
    low: jax.Array
    high: jax.Array
    broke: jax.Array

    @classmethod
    def first(cls, value: Any) -> "Constant":
        value = jnp.asarray(value, jnp.float32)
        return cls(value, jnp.zeros(()), jnp.full((), _LARGEST), jnp.zeros((), bool))

    def after(
        self, broken: jax.Array, within: jax.Array, round_steps: int
    ) -> "Constant":
        """With what step `within` of the round's `round_steps` has seen."""
        settled = 2 * (within + 1) > round_steps
        return self.replace(broke=self.broke | (broken & settled))  # type: ignore

    def next_round(self) -> "Constant":
        high = jnp.where(self.broke, self.value, self.high)
        low = jnp.where(self.broke, self.low, self.value)
        larger = jnp.minimum(10 * self.value, _LARGEST)
        value = jnp.where(high < _LARGEST, (low + high) / 2, larger)
        return Constant(value, low, high, jnp.zeros((), bool))
