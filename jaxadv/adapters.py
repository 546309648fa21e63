"""Networks of other libraries, called on ONE image: what `Classifier.apply` may be.

Each is `apply(variables, image [h, w, c], key) -> (logits, features)`, the image being
normalized. They compare by what they are made of, so that two classifiers of one
structure share a compiled program.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from flax.errors import (
    InvalidRngError,
    ModifyScopeVariableError,
    ScopeCollectionNotFound,
)

from jaxadv import mapped
from jaxadv.specs import UsageError

# Arguments that tell a module what it is called for, and their value in evaluation.
EVALUATION: dict[str, Any] = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}
LAYOUTS = ("hwc", "chw")


@dataclasses.dataclass(frozen=True)
class Linen:
    """A linen module; feature taps are what it sows as `features/taps`.

    Attributes:
      rngs: names of the random streams that it draws from.
      arguments: (name, value) of the further arguments of its call.
      batched: whether it takes [n, h, w, c] and not one image.
      together: whether batch normalization takes the statistics of all images that
        are mapped under the axis `mapped.IMAGES`, in place of its running averages.
      shared: whether those images have their random streams in common.
    """

    module: linen.Module
    rngs: tuple[str, ...] = ()
    arguments: tuple[tuple[str, Any], ...] = (("train", False),)
    batched: bool = True
    together: bool = False
    shared: bool = False

    def full_precision(self) -> "Linen":
        """The same, computing in float32 if it has a `compute_dtype`."""
        module: Any = self.module
        dtype = jnp.dtype(getattr(module, "compute_dtype", jnp.float32))
        if dtype == jnp.float32:
            return self
        exact = module.clone(compute_dtype=jnp.float32)
        return dataclasses.replace(self, module=exact)

    def __call__(self, variables, image, key):
        rngs = None
        if self.rngs and key is not None:
            key = mapped.shared(key) if self.shared else key
            rngs = {n: jax.random.fold_in(key, i) for i, n in enumerate(self.rngs)}
        together = self.together and "batch_stats" in variables
        statistics = mapped.statistics(self.module) if together else nullcontext()
        try:
            with statistics:
                logits, sown = self.module.apply(
                    variables,
                    image[None] if self.batched else image,
                    rngs=rngs,
                    mutable=["features"],
                    **dict(self.arguments),
                )
        except ScopeCollectionNotFound as error:
            raise UsageError(
                f"{type(self.module).__name__} misses some of its variables "
                f"({_first_line(error)}): give all that its init returned, as "
                '{"params": …, "batch_stats": …}'
            ) from error
        except InvalidRngError as error:
            lost = "give a key" if self.rngs else "give the names of its rngs"
            raise UsageError(
                f"{type(self.module).__name__} draws random numbers when it is called "
                f"({_first_line(error)}): {lost}, as from_linen(…, rngs=('noise',)) "
                "and model(image, key)"
            ) from error
        except ModifyScopeVariableError as error:
            raise UsageError(
                f"{type(self.module).__name__} changes its variables when it is called "
                f"({_first_line(error)}): it must run in evaluation mode; give "
                "evaluation={name: value} of the argument that selects it"
            ) from error
        collected: Any = sown
        taps = collected.get("features", {}).get("taps", ())
        if self.batched:
            # Whatever the module returns: what may be logits is the Classifier's
            # question.
            logits, taps = jax.tree.map(lambda x: x[0], (logits, tuple(taps)))
        return logits, tuple(taps)


@dataclasses.dataclass(frozen=True)
class Function:
    """A pure function `(variables, image, key) -> logits`, and one for features.

    Attributes:
      batched: whether they take and return a batch [n, …].
    """

    function: Callable[..., Any]
    features: Callable[..., Any] | None = None
    batched: bool = False

    def __call__(self, variables, image, key):
        given = image[None] if self.batched else image
        logits = self.function(variables, given, key)
        taps = () if self.features is None else self.features(variables, given, key)
        if self.batched:
            logits, taps = jax.tree.map(lambda x: x[0], (logits, tuple(taps)))
        return logits, tuple(taps)


@dataclasses.dataclass(frozen=True)
class Nnx:
    """An nnx module that takes [n, h, w, c]; the variables are its state.

    Attributes:
      graph: its structure, of `nnx.split`.
      random: its random state, which evaluation does not use.
      arguments: (name, value) of the further arguments of its call.
    """

    graph: Any
    random: Any
    arguments: tuple[tuple[str, Any], ...] = ()

    def __call__(self, variables, image, key):
        model = nnx.merge(self.graph, self.random.tree, variables)
        logits = model(image[None], **dict(self.arguments))
        # Whatever the module returns, as for linen.
        return jax.tree.map(lambda x: x[0], logits), ()


def of_nnx(
    model: nnx.Module, evaluation: Mapping[str, Any] | None = None
) -> tuple[Any, Nnx]:
    """(variables, adapter) of a copy of the module in evaluation mode.

    Raises:
      UsageError: it is no nnx module, or its call lacks an argument of `evaluation`.
    """
    if not isinstance(model, nnx.Module):
        name = type(model).__name__
        raise UsageError(f"from_nnx: the model is a {name}; give an nnx.Module")
    copy = nnx.merge(*nnx.split(model))
    copy.eval()
    graph, random, state = nnx.split(copy, nnx.RngState, ...)
    arguments = checked_evaluation(evaluation, model)
    if evaluation is None and "rngs" in _required(model):
        arguments += (("rngs", None),)  # of dropout, which is off
    return state, Nnx(graph, Frozen(jax.tree.map(_blank, random)), arguments)


def _blank(leaf):
    """A leaf of a random state that nothing draws from; alike for all networks."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    return jnp.zeros(leaf.shape, leaf.dtype)


class Equinox:
    """An equinox module that takes one image; the variables are its arrays.

    Attributes:
      static: what of (module, state) is no array.
      layout: "chw" or "hwc": what it takes.
    """

    def __init__(self, static: Any, layout: str):
        self.static, self.layout = Frozen(static), layout

    def __eq__(self, other):
        same = isinstance(other, Equinox) and self.layout == other.layout
        return same and self.static == other.static

    def __hash__(self):
        return hash((self.static, self.layout))

    def __call__(self, variables, image, key):
        equinox = _library("equinox")
        model, state = equinox.combine(variables, self.static.tree)
        given = jnp.moveaxis(image, -1, 0) if self.layout == "chw" else image
        if state is None:
            return model(given), ()
        return model(given, state)[0], ()


def of_equinox(model: Any, state: Any, layout: str) -> tuple[Any, Equinox]:
    """(variables, adapter) of the module in inference mode.

    Raises:
      UsageError: it is no equinox module, the layout is unknown, or a state is
        missing or not taken.
    """
    equinox = _library("equinox")
    if not isinstance(model, equinox.Module):
        name = type(model).__name__
        raise UsageError(f"from_equinox: the model is a {name}; give an eqx.Module")
    check_layout(layout)
    name = type(model).__name__
    if state is None and len(_required(model)) > 1:
        needs = "an image and a state; give its state too"
        raise UsageError(f"from_equinox: {name} is called with {needs}")
    positional = [p for p in _taken(model).values() if p.kind is not p.KEYWORD_ONLY]
    if state is not None and len(positional) < 2:
        needs = "an image alone; leave the state out"
        raise UsageError(f"from_equinox: {name} is called with {needs}")
    model = equinox.nn.inference_mode(model)
    variables, static = equinox.partition((model, state), equinox.is_array)
    return variables, Equinox(static, layout)


class Frozen:
    """A pytree that compares and hashes by its structure and leaves."""

    def __init__(self, tree: Any):
        self.tree = tree
        leaves, structure = jax.tree.flatten(tree)
        self._key = structure, tuple(map(_hashable, leaves))

    def __eq__(self, other):
        return isinstance(other, Frozen) and self._key == other._key

    def __hash__(self):
        return hash(self._key)


def _hashable(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, (jax.Array, np.ndarray)):
        return leaf.shape, str(leaf.dtype), np.asarray(leaf).tobytes()
    return leaf


def check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise UsageError(f"layout is {layout!r}; allowed: {', '.join(LAYOUTS)}")


def checked_evaluation(given: Mapping[str, Any] | None, module: Any) -> tuple:
    """(name, value) of the arguments of a module's call that select evaluation mode.

    Those of `EVALUATION` that it takes where None are given.

    Raises:
      UsageError: its `__call__` does not take one of them.
    """
    taken = _taken(module)
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(
            f"evaluation is {given!r}; give {{name of an argument: value}}"
        )
    if given is None:
        return tuple((k, value) for k, value in EVALUATION.items() if k in taken)
    several = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    for name in given:
        if name not in taken and not several:
            raise UsageError(
                f"evaluation: {type(module).__name__} takes no argument {name!r}; it "
                f"takes {', '.join(taken) or 'none'}"
            )
    return tuple(given.items())


def _taken(module) -> Mapping[str, inspect.Parameter]:
    """The parameters of a module's call, `self` left out."""
    found = list(inspect.signature(type(module).__call__).parameters.items())
    return dict(found[1:])


def _required(module) -> list[str]:
    """Those that have no default, the image first."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, p in _taken(module).items()
        if p.default is p.empty and p.kind not in several
    ]


def torch() -> Any:
    """The library torch; see `_library`."""
    return _library("torch")


def _library(name: str) -> Any:
    """Another library, which only those who have such a network need.

    Raises:
      UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"{error}; pip install {name}") from error


def _first_line(error):
    return str(error).strip().splitlines()[0]
