"""The network under attack: weights and preprocessing, called on one image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.errors import ScopeParamShapeError

from jaxadv import adapters, arrays, protocols, struct, torch_adapter
from jaxadv.specs import UsageError


@struct.dataclass
class Classifier:
    """Weights and preprocessing of one network, called on ONE image in [0, 1].

    The weights are pytree leaves, so a classifier is passed to compiled code as
    an argument. An ensemble is a tuple of classifiers. Build it with
    `from_linen`, `from_nnx`, `from_equinox`, `from_torch` or `from_function`.

    Attributes:
      variables: whatever `apply` needs, usually `{"params": …, "batch_stats": …}`.
      mean: [c] or scalar, subtracted from the image, in [0, 1] units.
      std: [c] or scalar, divides the centred image, in [0, 1] units.
      apply: `(variables, normalized image [h, w, c], key) -> (logits, features)`.

    Example:
      >>> model = ja.Classifier.from_function(lambda w, x, key: x.ravel(), None)
      >>> model(jnp.array([[[0.0], [1.0]], [[0.0], [0.0]]]))  # logits of one image
      Array([0., 1., 0., 0.], dtype=float32)
      >>> batched = jax.vmap(model)
      >>> batched(jnp.zeros((3, 2, 2, 1))).shape
      (3, 4)
    """

    variables: Any
    mean: Any = 0.0
    std: Any = 1.0
    apply: Callable[..., Any] = struct.field(pytree_node=False, default=None)  # type: ignore

    @classmethod
    def from_linen(
        cls,
        module: nn.Module,
        variables: Any,
        mean: Any = 0.0,
        std: Any = 1.0,
        rngs: Sequence[str] = (),
        *,
        evaluation: Mapping[str, Any] | None = None,
        batched: bool = True,
    ) -> "Classifier":
        """A classifier from a linen module in evaluation mode.

        Args:
          module: called on images [n, h, w, c]; feature taps are what it sows as
            `features/taps`.
          variables: its variable collections.
          mean: [c] or scalar; see the class.
          std: [c] or scalar; see the class.
          rngs: names of the random streams that a stochastic module draws from.
          evaluation: arguments of the call that select evaluation mode. By default
            those of `adapters.EVALUATION` that it takes, as train=False and
            deterministic=True.
          batched: False if the module takes one image.

        Raises:
          UsageError: it is no module, or has no such argument.

        Example:
          >>> module = ja.models.MODELS["mlp"](num_classes=3)
          >>> images = jnp.zeros((1, 4, 4, 1))
          >>> variables = jax.jit(module.init)(jax.random.key(0), images)
          >>> model = ja.Classifier.from_linen(module, variables, mean=0.5, std=0.5)
          >>> model(images[0]).shape
          (3,)
        """
        if not isinstance(module, nn.Module):
            kind = (
                f"the class {module.__name__}"
                if isinstance(module, type)
                else (f"a {type(module).__name__}")
            )
            raise UsageError(f"from_linen: the module is {kind}; give a linen Module()")
        arguments = adapters.checked_evaluation(evaluation, module)
        apply = adapters.Linen(module, tuple(rngs), arguments, batched)
        return cls(variables, _row(mean, "mean"), _row(std, "std"), apply)

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        variables: Any,
        mean: Any = 0.0,
        std: Any = 1.0,
        features: Callable[..., Any] | None = None,
        *,
        batched: bool = False,
    ) -> "Classifier":
        """A classifier from any pure `function(variables, image, key) -> logits`.

        `features(variables, image, key)` returns its feature taps, a tuple of
        [h, w, c]; only perceptual distances need it. With `batched` both take images
        [n, h, w, c] and return [n, …]. Keep one function object: another one is
        another program and compiles again.
        """
        apply = adapters.Function(function, features, batched)
        return cls(variables, _row(mean, "mean"), _row(std, "std"), apply)

    @classmethod
    def from_nnx(
        cls,
        model: Any,
        mean: Any = 0.0,
        std: Any = 1.0,
        *,
        evaluation: Mapping[str, Any] | None = None,
    ) -> "Classifier":
        """A classifier from an nnx module that takes images [n, h, w, c].

        A copy is taken and put into evaluation mode: dropout is off, batch norm uses
        its running averages. It computes in its own precision, in verification too.

        Args:
          model: the module.
          mean: [c] or scalar; see the class.
          std: [c] or scalar; see the class.
          evaluation: arguments of its call, as for `from_linen`.

        Raises:
          UsageError: it is no nnx module, or has no such argument.
        """
        variables, apply = adapters.of_nnx(model, evaluation)
        return cls(variables, _row(mean, "mean"), _row(std, "std"), apply)

    @classmethod
    def from_equinox(
        cls,
        model: Any,
        state: Any = None,
        mean: Any = 0.0,
        std: Any = 1.0,
        *,
        layout: str = "chw",
    ) -> "Classifier":
        """A classifier from an equinox module that takes one image; needs equinox.

        Args:
          model: called as `model(image)`, in inference mode.
          state: of a stateful one, called as `model(image, state)`.
          mean: [c] or scalar; see the class.
          std: [c] or scalar; see the class.
          layout: "chw" if it takes [c, h, w], as is usual there, or "hwc".

        Raises:
          UsageError: it is no equinox module, or the layout is unknown.
        """
        variables, apply = adapters.of_equinox(model, state, layout)
        return cls(variables, _row(mean, "mean"), _row(std, "std"), apply)

    @classmethod
    def from_torch(cls, module: Any, mean: Any = 0.0, std: Any = 1.0) -> "Classifier":
        """A classifier from a torch module on the CPU; exact, slow; needs torch.

        The module, which takes [n, c, h, w], is called on the host with its own
        gradient, a batch at a time. Its weights stay its own.

        Raises:
          UsageError: it is no torch module, or is in training mode.
        """
        apply = torch_adapter.of_torch(module)
        return cls({}, _row(mean, "mean"), _row(std, "std"), apply)

    def __call__(self, image: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Logits [classes], float32, of one image [h, w, c] in [0, 1].

        Raises:
          UsageError: the network's output is no [classes], which its shape tells.
        """
        return self.run(image, key)[0]

    def features(self, image: jax.Array, key: jax.Array | None = None) -> tuple:
        """The feature taps of one image, a tuple of [h, w, c], first layer first."""
        return self._apply(image, key)[1]

    def __repr__(self) -> str:
        """Its kind, how many numbers it holds, and its normalization."""
        kind = type(getattr(self.apply, "module", None) or self.apply).__name__
        count = sum(getattr(x, "size", 1) for x in jax.tree.leaves(self.variables))
        return (
            f"Classifier({kind}, {count:,} numbers, mean={self.mean}, std={self.std})"
        )

    def full_precision(self) -> "Classifier":
        """The same network computing in float32, if it has a `compute_dtype`."""
        apply = protocols.full_precision(self.apply)
        return self if apply is self.apply else self.replace(apply=apply)  # type: ignore

    def without_noise(self) -> "Classifier":
        """The same network with its noise replaced by the noise's mean.

        Raises:
          UsageError: it is not one that can, as those of `jaxadv.models.noisy` can.
        """
        module = getattr(self.apply, "module", None)
        if not protocols.can_be_silent(module):
            kind = type(self.apply if module is None else module).__name__
            raise UsageError(
                f"the network {kind} cannot do without its noise, or has none; leave "
                "the attack out, or average over draws by the objective expectation"
            )
        params = protocols.silent(module, self.variables["params"])
        return self.replace(  # type: ignore[attr-defined]
            variables={**self.variables, "params": params}
        )

    def run(self, image: jax.Array, key: jax.Array | None = None) -> tuple:
        """Logits and feature taps of one image."""
        logits, taps = self._apply(image, key)
        arrays.check_logits(logits)
        return logits.astype(jnp.float32), taps

    def _apply(self, image, key):
        try:
            return self.apply(self.variables, self._normalize(image), key)
        except ScopeParamShapeError as error:
            reason = str(error).strip().splitlines()[0]
            raise UsageError(
                f"an image of shape {jnp.shape(image)} does not fit the network's "
                f"weights ({reason})"
            ) from error

    def _normalize(self, image):
        channels = jnp.shape(image)[-1:]
        for name in ("mean", "std"):
            shape = jnp.shape(getattr(self, name))
            if shape not in ((), (1,), channels):
                raise UsageError(
                    f"an image of shape {jnp.shape(image)} does not fit the network's "
                    f"{name}, which has {shape[-1]} channels"
                )
        return (image - self.mean) / self.std


def obstacle(model: Any, image: Any) -> str:
    """Why the logits of an image [h, w, c] have no gradient; empty where they have.

    Of an ensemble what its first such network says. Nothing is compiled or run.
    """
    if isinstance(model, (tuple, list)):
        return next((why for one in model if (why := obstacle(one, image))), "")
    key = jax.random.key_data(jax.random.key(0))
    like = jax.ShapeDtypeStruct(jnp.shape(image), jnp.float32)

    def total(x):
        return jnp.sum(model(x, key))

    try:
        jax.eval_shape(jax.grad(total), like)
    except (ValueError, TypeError, NotImplementedError) as error:
        jax.eval_shape(total, like)  # what is wrong without a gradient says so itself
        return str(error).strip().splitlines()[0]
    return ""


class Seen:
    """A classifier and what it gave on one image, where it is not run again.

    Autodiff then goes back through the network once, for everything that was made
    of its logits and its feature taps; of two runs it would make two backward
    passes, which no compiler merges. Lives within one trace, is not a pytree, and
    knows its image as an object, so that any other image is run as ever.
    """

    def __init__(self, model: Classifier, image: jax.Array):
        self._model, self._image = model, image
        self._found = model.run(image)

    def __call__(self, image: jax.Array, key: Any = None) -> jax.Array:
        return self._found[0] if image is self._image else self._model(image, key)

    def features(self, image: jax.Array, key: Any = None) -> Any:
        if image is self._image:
            return self._found[1]
        return self._model.features(image, key)

    def full_precision(self) -> "Seen":
        return self


def seen(model: Any, image: jax.Array) -> Any:
    """`model` as `Seen` on `image` where that changes nothing, else `model` itself.

    It would change what a random network draws and the precision of the taps of a
    network with a `compute_dtype`; an ensemble has no features of its own.
    """
    if not isinstance(model, Classifier) or not isinstance(model.apply, adapters.Linen):
        return model
    if model.apply.rngs or model.apply.full_precision() is not model.apply:
        return model
    return Seen(model, image)


def _row(value, name):
    """[c] or [] of float32; UsageError if a known std is not above 0, or not finite."""
    known = arrays.concrete(value)
    if known is not None:
        known = np.asarray(known, np.float32)
        good = np.isfinite(known) & ((known > 0) | (name == "mean"))
        if not np.all(good):
            most = "finite" if name == "mean" else "finite and > 0"
            raise UsageError(f"{name} is {value}; it must be {most}, in [0, 1] units")
    return jnp.asarray(value, jnp.float32)
