"""What the defenses share: the network being trained, and what a loss returns."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv import parallel, protocols, struct
from jaxadv.classifier import Classifier
from jaxadv.mapped import IMAGES
from jaxadv.objectives import cross_entropy, margin
from jaxadv.specs import UsageError


@dataclasses.dataclass(frozen=True)
class Network:
    """A linen module with its preprocessing; static, so it holds no weights.

    Attributes:
      module: called as `module(images [n, h, w, c], train=…)`. One that is random
        in evaluation mode too names its random streams in `eval_rngs`.
      mean: [c] subtracted from the image, in [0, 1] units.
      std: [c] divides the centered image, in [0, 1] units.
      craft_bn: the statistics of batch normalization in `target`; "average" or
        "batch".
    """

    module: nn.Module
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    craft_bn: str = "average"

    @property
    def rngs(self) -> tuple[str, ...]:
        return protocols.random_streams(self.module)

    def init(self, key: jax.Array, image_shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Fresh (params, batch_stats) for images of shape [h, w, c]."""
        names = ("params", "dropout", *self.rngs)
        rngs = {name: jax.random.fold_in(key, i) for i, name in enumerate(names)}
        variables = _init(self.module, rngs, jnp.zeros((1, *image_shape)))
        return variables["params"], variables.get("batch_stats", {})

    def check(self, image_shape: tuple[int, ...], classes: int) -> None:
        """Checks, without computing anything, that the module gives `classes` logits.

        Raises:
          UsageError: it gives others, or cannot be called as modules are here.
        """
        kind = type(self.module).__name__
        images = jnp.zeros((2, *image_shape))

        def logits(train):
            made = self.init(jax.random.key(0), image_shape)
            if train:
                return self.train(*made, images, jax.random.key(0), jnp.arange(2))[0]
            rngs = {name: jax.random.key(0) for name in self.rngs}
            return self.module.apply(_variables(*made), images, train=False, rngs=rngs)

        for train in (False, True):
            try:
                shape = jax.eval_shape(lambda t=train: logits(t)).shape
            except UsageError:
                raise
            except Exception as error:  # whatever the module raises
                line = str(error).partition("\n")[0]
                raise UsageError(
                    f"config.model: {kind} fails on images of {image_shape} with train="
                    f"{train}: {type(error).__name__}: {line}"
                ) from error
            if shape != (2, classes):
                raise UsageError(
                    f"config.model: {kind} gives {shape} for 2 images; it must be "
                    f"[2, {classes}], as many logits as the data have classes"
                )

    def classifier(
        self,
        params: Any,
        batch_stats: Any,
        fixed: bool = True,
        *,
        shared: bool = False,
    ) -> Classifier:
        """The network in evaluation mode; no gradient reaches params if `fixed`.

        With `shared`, where a module says that it `shares_noise`, all images of all
        devices have one draw at a time: weights for each image would take many times as
        long. It is then called under a map over the axis `mapped.IMAGES`.
        """
        batch_stats = jax.lax.stop_gradient(batch_stats)
        params = jax.lax.stop_gradient(params) if fixed else params
        variables = _variables(params, batch_stats)
        found = Classifier.from_linen(
            self.module, variables, self.mean, self.std, self.rngs
        )
        if not (shared and protocols.shares_noise(self.module)):
            return found
        apply: Any = found.apply  # that of linen
        return found.replace(  # type: ignore[attr-defined]
            apply=dataclasses.replace(apply, shared=True)
        )

    def target(self, params: Any, batch_stats: Any) -> Classifier:
        """The network that a training step's attacks are crafted on.

        It is `classifier`, or with `craft_bn="batch"` one whose batch normalization
        takes the statistics of the images that this device attacks together, as they
        are at that step of the attack, and moves no running averages. A perturbation
        then depends on the others of its batch and on the number of devices. It is
        called under a map over the axis `mapped.IMAGES`, as `craft` and `logits` do.
        """
        found = self.classifier(params, batch_stats, shared=True)
        apply: Any = found.apply  # that of linen
        apply = dataclasses.replace(apply, together=self.craft_bn == "batch")
        return found.replace(apply=apply)  # type: ignore[attr-defined]

    def train(
        self,
        params: Any,
        batch_stats: Any,
        images: jax.Array,
        key: jax.Array,
        ids: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        """Logits [n, classes] in train mode, and the moved running statistics.

        Batch normalization uses the statistics of these n images alone.

        Args:
          params: of the module.
          batch_stats: its running statistics, {} where it has none.
          images: [n, h, w, c] in [0, 1].
          key: of dropout and other noise, equal on all devices; it is consumed.
          ids: [b] of the images on this device; None: the key is this device's own.
        """
        mean, std = jnp.asarray(self.mean), jnp.asarray(self.std)
        own = key if ids is None else local_key(key, ids)
        noise = key if protocols.shares_noise(self.module) else own
        rngs = {
            name: jax.random.fold_in(noise, i)
            for i, name in enumerate(self.rngs, start=1)
        }
        logits, moved = self.module.apply(
            _variables(params, batch_stats),
            (images - mean) / std,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.fold_in(own, 0), **rngs},
        )
        return logits.astype(jnp.float32), moved.get("batch_stats", {})


@struct.dataclass
class Output:
    """What a defense's loss returns beside the loss.

    Attributes:
      batch_stats: the moved running statistics of this device's examples; the
        training step averages them over the devices.
      memory: the defense's own memory after the step, equal on all devices: a
        defense that has one reduces over `parallel.AXIS` itself.
      metrics: name -> mean over this device's examples.
    """

    batch_stats: Any
    memory: Any
    metrics: dict[str, jax.Array]


def cross_entropies(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy in nats per example, [n], of logits [n, classes].

    `labels` are [n] class indices or the probabilities [n, classes] of each class.
    """
    if labels.ndim == 2:
        return -jnp.sum(labels * jax.nn.log_softmax(logits), axis=-1)
    return jax.vmap(cross_entropy)(logits, labels)


def wanted(batch: Mapping[str, Any]) -> jax.Array:
    """What is to be learned of a batch: its `target` [b, classes], else its labels."""
    return batch.get("target", batch["label"])


def features(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a batch has of its images beside pixels and labels, for `craft`."""
    return {name: batch[name] for name in protocols.FEATURES if name in batch}


def logits_of(target: Classifier, images: jax.Array, keys: Any = None) -> jax.Array:
    """Logits [b, classes] of images [b, h, w, c]; also of a `Network.target`.

    `keys` [b] are of a random network's draws.
    """
    return jax.vmap(target, axis_name=IMAGES)(images, keys)


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether the label's logit is strictly the largest, [n] bool."""
    return jax.vmap(margin)(logits, labels) < 0


def one_pass(
    state: Any,
    params: Any,
    batch: Any,
    crafted: list[jax.Array],
    key: jax.Array,
    alpha: float,
) -> tuple[jax.Array, jax.Array, jax.Array, Any, dict[str, jax.Array]]:
    """Losses of clean images and of attacked copies, in ONE forward pass in train mode.

    Args:
      state: the train state, for its network and its running statistics.
      params: what the losses are differentiated in.
      batch: images [b, h, w, c], labels [b] and ids [b]; see `wanted`.
      crafted: k arrays of attacked images [b, h, w, c].
      key: of dropout and other noise.
      alpha: weight of the clean loss; with 0 the clean images are left out.

    Returns:
      `alpha` times the mean clean loss; losses [k, b] and hits [k, b] of the copies;
      the moved running statistics; the metric `clean_accuracy`, if there is one.
    """
    copies = [batch["image"], *crafted] if alpha else crafted
    logits, batch_stats = state.network.train(
        params, state.batch_stats, jnp.concatenate(copies), key, batch["id"]
    )
    logits = logits.reshape(len(copies), len(batch["label"]), -1)
    losses = jax.vmap(cross_entropies, (0, None))(logits, wanted(batch))
    hits = jax.vmap(correct, (0, None))(logits, batch["label"])
    if not alpha:
        return jnp.zeros(()), losses, hits, batch_stats, {}
    metrics = {"clean_accuracy": jnp.mean(hits[0])}
    return alpha * jnp.mean(losses[0]), losses[1:], hits[1:], batch_stats, metrics


def hardest(losses: jax.Array, values: jax.Array) -> jax.Array:
    """[b] of `values` [k, b], each example's where its loss, [k, b], is largest."""
    return jnp.take_along_axis(values, jnp.argmax(losses, axis=0)[None], axis=0)[0]


def local_key(key: jax.Array, ids: jax.Array) -> jax.Array:
    """A key that differs between devices, because their first examples do."""
    return jax.random.fold_in(key, ids[0])


def remember(memory: Any, ids: jax.Array, rows: Any) -> Any:
    """Memory of single examples with `rows` written at `ids`.

    The devices exchange their rows, so the result is equal on all of them.

    Args:
      memory: arrays [examples, …], a pytree.
      ids: [b]; a negative one is padding, and nothing is written for it.
      rows: arrays [b, …] of the same structure.
    """
    ids, rows = jax.lax.all_gather((ids, rows), parallel.AXIS, tiled=True)

    def written(array, values):
        # A negative index would count from the end; one beyond it is dropped.
        place = jnp.where(ids < 0, len(array), ids)
        return array.at[place].set(values, mode="drop")

    return jax.tree.map(written, memory, rows)


def shared_memory(
    phases: Mapping[str, Any], image_shape: tuple[int, ...], examples: int
) -> Any:
    """What the defenses of a run's phases, label -> defense, remember together.

    It is what those that remember something begin with; the others pass it on.

    Raises:
      UsageError: two of them remember something of different form.
    """
    found: Any = ()
    first = ""
    for label, defense in phases.items():
        memory = defense.init(image_shape, examples)
        if not jax.tree.leaves(memory):
            continue
        form, known = (jax.tree.map(jnp.shape, m) for m in (memory, found))
        if first and form != known:
            raise UsageError(
                f"config.phases: {label} remembers {form}, but {first} {known}; phases "
                "share one memory, so all that have one must have the same"
            )
        if not first:
            found, first = memory, label
    return found


@functools.partial(jax.jit, static_argnums=0)
def _init(module, rngs, images):
    return module.init(rngs, images, train=False)


def _variables(params, batch_stats):
    return {"params": params} | ({"batch_stats": batch_stats} if batch_stats else {})
