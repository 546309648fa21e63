"""Max-margin adversarial training: each image moves to its own boundary."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxadv import arrays, numerics, specs, struct
from jaxadv.craft import craft, joint
from jaxadv.defenses import base, inner
from jaxadv.numerics import streams
from jaxadv.numerics.loops import repeat
from jaxadv.objectives import CrossEntropy, log_odds


@struct.dataclass
class Mma:
    """Cross-entropy of correct images at their decision boundary, of wrong ones clean.

    An image is correct where its log odds, the log of the summed exponentials of the
    wrong logits minus the label's, are below 0: where the label has more than half of
    the probability. Along the perturbation that PGD finds within the image's remembered
    budget, halvings of [0, 1.05 d_max] search where the odds are even; that length is
    remembered, 0 for a wrong image. With B images of the batch the loss is

      (1 - clean_weight) / B (sum over correct, length < d_max of CE(boundary)
        + sum over wrong of CE(clean)) + clean_weight / B sum of CE(clean)

    so that images beyond d_max count in B alone. A `clean_weight` of 0 is OMMA. Source:
    Ding, Sharma, Lui and Huang, "MMA training: direct input space margin maximization
    through adversarial training", 2020, algorithms 1 and 2.

    The authors' code returns the middle of the last interval, which it has not tested,
    and leaves it outside of [0, 1]; here the smallest length whose clipped image was
    seen to cross the boundary is taken, and that image. Their search runs in train
    mode; here all of it, and the question of who is correct, is in evaluation mode. The
    clean images and then the mixed ones pass in train mode, each normalized by their
    own batch's statistics; without `clean_weight` the mixed ones alone.

    Attributes:
      attacks: a tuple of one PGD in linf or l2; the source's has 10 steps and a
        `rel_step_size` of 0.25. Its own eps is that of the validation alone, and its
        objective is replaced by the cross-entropy, whose steps are those of the log
        odds.
      d_max: from which distance to the boundary on an image is left alone, in [0, 1]
        units; the source's for CIFAR-10 are 12/255, 20/255 and 32/255 in linf, and 1, 2
        and 3 in l2.
      min_eps: the smallest budget of PGD; the source's are 0.005 and 0.5, on MNIST 0.1
        and 0.5.
      clean_weight: the share of all clean images' loss, 1/3.
      halvings: of the interval, after the point of PGD itself is looked at; 10.
    """

    attacks: Any = specs.given()
    d_max: float = specs.leaf(32 / 255, minimum=0.0)
    min_eps: float = specs.leaf(0.005, minimum=0.0)
    clean_weight: float = specs.static(1 / 3, minimum=0.0, maximum=1.0)
    halvings: int = specs.static(10, minimum=1)

    def __post_init__(self):
        specs.check(self)
        inner.ascent(self)
        least, most = arrays.concrete(self.min_eps), arrays.concrete(self.d_max)
        if least is not None and most is not None and least >= most:
            raise specs.UsageError(
                f"Mma.min_eps is {self.min_eps:.4g}, not below d_max={self.d_max:.4g}, "
                "beyond which images are left alone; give a smaller one"
            )

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        return {"eps": jnp.zeros(examples)}

    def loss(
        self, params: Any, state: Any, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, base.Output]:
        craft_key, train_key = jax.random.split(key)
        images, labels, ids = batch["image"], batch["label"], batch["id"]
        network, batch_stats = state.network, state.batch_stats
        model = network.target(params, batch_stats)
        keys = jax.random.split(train_key)
        if self.clean_weight:
            clean, batch_stats = network.train(
                params, batch_stats, images, keys[0], ids
            )
            natural = jnp.mean(base.cross_entropies(clean, labels))
        else:
            natural = 0.0
        at_boundary, eps, right = self.searched(model, craft_key, batch, state.memory)
        mixed = jnp.where(right[:, None, None, None], at_boundary, images)
        logits, batch_stats = network.train(params, batch_stats, mixed, keys[1], ids)
        near = eps < self.d_max  # of wrong images, whose eps is 0, too
        losses = jnp.where(near, base.cross_entropies(logits, labels), 0.0)
        metrics = {
            "clean_accuracy": jnp.mean(right),
            "eps_mean": jnp.mean(eps),
            "beyond": jnp.mean(~near),
        }
        weight = self.clean_weight
        loss = (1 - weight) * jnp.mean(losses) + weight * natural
        memory = inner.remembered(state.memory, ids, eps)
        return loss, base.Output(batch_stats, memory, metrics)

    def searched(
        self, model: Any, key: jax.Array, batch: dict[str, jax.Array], memory: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """What an approximate nearest PGD (AN-PGD) finds of a batch.

        Args:
          model: the network in evaluation mode.
          key: of the attack.
          batch: images [b, h, w, c], labels [b] and ids [b].
          memory: as `init` makes it.

        Returns:
          Images [b, h, w, c] at the boundary; how far it is, [b], 0 for wrong images
          and 1.05 d_max where it was not met; and whether images are correct, [b].
        """
        images, labels, ids = batch["image"], batch["label"], batch["id"]
        keys = joint.example_keys(streams.stream(key, "network"), ids)
        attack = inner.ascent(self).replace(objective=CrossEntropy())
        radii = jnp.maximum(memory["eps"][ids], self.min_eps)
        attacked = craft(
            attack, model, key, images, labels, ids=ids,
            per_image={"threat.eps": radii},
        )  # fmt: skip
        size = attacked.size[:, None, None, None]
        unit = (attacked.image - images) / jnp.where(size > 0, size, 1.0)

        def point(lengths):
            moved = images + lengths[:, None, None, None] * unit
            return numerics.clip(moved, 0.0, 1.0)

        def correct(points):
            return jax.vmap(log_odds)(base.logits_of(model, points, keys), labels) < 0

        right, most = correct(images), 1.05 * self.d_max
        _, eps = straddle(
            lambda lengths: ~correct(point(lengths)), attacked.size, most, self.halvings
        )
        eps = jnp.where(right, eps, 0.0)
        return jax.lax.stop_gradient((point(eps), eps, right))


def straddle(
    broken: Callable[[jax.Array], jax.Array],
    start: jax.Array,
    most: jax.Array | float,
    halvings: int,
) -> tuple[jax.Array, jax.Array]:
    """The interval around a boundary in [0, most] that halvings leave.

    First `start` is looked at and becomes one of the ends, then the middle of what is
    left, `halvings` times. With one halving less the middle of the result is the point
    that the authors' code of MMA returns.

    Args:
      broken: lengths [b] -> [b] bool, whether they lead beyond the boundary; not at 0.
      start: [b], where to begin; limited to `most`.
      most: the largest length.
      halvings: their number.

    Returns:
      (low, high), both [b]: the largest length that did not lead beyond, or 0, and the
      smallest that did, or `most`, which has not been looked at if none did.
    """
    high = jnp.full_like(start, most)
    start = jnp.minimum(start, high)

    def halve(ends):
        low, high, now = ends
        beyond = broken(now)
        low, high = jnp.where(beyond, low, now), jnp.where(beyond, now, high)
        return low, high, low + (high - low) / 2

    return repeat(halvings + 1, halve, (jnp.zeros_like(start), high, start))[:2]
