"""What random networks share: the network inside, and their noise."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxadv import models, protocols, specs
from jaxadv.models import layers
from jaxadv.models.cifar_resnet import ResNet20


class RandomNetwork(layers.ImageClassifier):
    """Another network, made random by what a subclass draws in every call.

    The parameters are `weights`, those of the network inside, and one more subtree
    that says how strong the noise is. The noise stays on in evaluation. One draw
    serves all images of a call, and in training those of all devices. A subclass has
    `begin(inner, variables, images)`, what the noise's parameters are at first, and
    `randomized(learned, weights, key)`, collections in place of the network's own.

    Attributes:
      network: the network inside; this one's `num_classes` and `compute_dtype` take
        the place of its own.
    """

    network: Any = specs.part(lambda: models.MODELS, ResNet20())
    eval_rngs: ClassVar = ("noise",)
    shares_noise: ClassVar = True
    learns: ClassVar = ""  # the subtree of the noise's own parameters
    off: ClassVar = 0.0  # what they are without noise

    def __post_init__(self):
        super().__post_init__()
        kind = type(self).__name__
        if self.network is None:
            raise specs.UsageError(f"{kind}.network is None; give a network")
        if protocols.random_streams(self.network):
            raise specs.UsageError(
                f"{kind}.network is a {type(self.network).__name__}, "
                "which is random itself; give one that is not"
            )
        inner = getattr(self.network, "compute_dtype", None)
        inner = None if inner is None else jnp.dtype(inner)
        if inner not in (None, jnp.dtype("float32"), jnp.dtype(self.compute_dtype)):
            raise specs.UsageError(
                f"{kind}.network.compute_dtype is {inner.name}, and that of {kind}, "
                f"{jnp.dtype(self.compute_dtype).name}, takes its place; give it there "
                "(config.model.compute_dtype)"
            )

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [n, h, w, c] to float32 logits [n, num_classes]."""
        own = {"num_classes": self.num_classes, "compute_dtype": self.compute_dtype}
        own = {name: own[name] for name in own if hasattr(self.network, name)}
        inner = self.network.clone(**own, parent=None, name=None)
        variables = self._weights(inner, images)
        learned = self._learned(inner, variables, images)
        key = self.make_rng("noise")
        subclass: Any = self
        noise = subclass.randomized(learned, variables["params"], key)
        variables = {**variables, **noise}
        logits, moved = inner.apply(
            variables,
            images,
            train=train,
            mutable=[k for k in _MOVED if self.is_mutable_collection(k)],
            rngs={"dropout": self.make_rng("dropout")} if train else None,
        )
        if train and "batch_stats" in moved and not self.is_initializing():
            self.put_variable("batch_stats", protocols.INSIDE, moved["batch_stats"])
        for x in moved.get("features", {}).get("taps", ()):
            self.tap(x)
        return logits

    def _weights(self, inner, images):
        """The network's own variables, made where there are none."""
        if self.is_initializing():
            made = inner.init(self.make_rng("params"), images, train=False)
            if more := set(made) - {"params", "batch_stats"}:
                raise specs.UsageError(
                    f"{type(self).__name__}.network is a {type(inner).__name__} with "
                    f"{', '.join(sorted(more))} beside params and batch_stats, which "
                    "a random network does not carry"
                )
            self.param(protocols.INSIDE, lambda _: made["params"])
            if "batch_stats" in made:
                self.put_variable("batch_stats", protocols.INSIDE, made["batch_stats"])
        found = {"params": self.get_variable("params", protocols.INSIDE)}
        if self.has_variable("batch_stats", protocols.INSIDE):
            found["batch_stats"] = self.get_variable("batch_stats", protocols.INSIDE)
        return found

    def _learned(self, inner, variables, images):
        """The noise's own parameters, made where there are none."""
        if self.is_initializing():
            subclass: Any = self
            made = subclass.begin(inner, variables, images)
            self.param(self.learns, lambda _: made)
        return self.get_variable("params", self.learns)

    def silent(self, params: Any) -> Any:
        """The parameters of the same network without noise."""
        learned = jax.tree.map(
            lambda x: jnp.full_like(x, self.off), params[self.learns]
        )
        return {**params, self.learns: learned}


_MOVED = ("batch_stats", "features")


def normals(key: jax.Array, like: Any) -> Any:
    """Independent standard normal numbers in the form of the arrays of a pytree.

    They are one vector, cut up: a draw for each array takes minutes to compile.
    """
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([np.size(leaf) for leaf in leaves])
    drawn = jax.random.normal(key, (int(ends[-1]),))
    parts = jnp.split(drawn, ends[:-1])
    shaped = [p.reshape(jnp.shape(x)) for p, x in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, shaped)
