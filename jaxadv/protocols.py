"""The five nouns, and what a part may offer beside them.

Parts are frozen dataclasses that share no base class: whatever has these methods is
one. What not every part has is asked for by the functions below, and nowhere else.
Arrays are of ONE image; drivers map over batches.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Protocol

import jax

# What a data set may know of an image beside its pixels and its label: maps
# [h, w, 1], of which `mask` is 1 on the foreground.
FEATURES = ("mask",)


class Model(Protocol):
    """A network in evaluation mode: image [h, w, c] in [0, 1] -> logits [classes]."""

    def __call__(self, image: jax.Array, key: Any = None) -> jax.Array: ...


class Objective(Protocol):
    """What an attack makes larger, a scalar.

    `goal(logits, label)` is at least 0 where the attack has succeeded; an objective
    over several networks or images has `goal_at(model, image, label, key)` instead.
    """

    def __call__(self, model: Any, image: Any, label: Any, key: Any) -> jax.Array: ...


class Threat(Protocol):
    """Where an attack may look: perturbations of one image with a budget.

    `params` are a pytree: of an lp ball the perturbation [h, w, c].
    """

    @property
    def budget(self) -> Any:
        """The largest `size`; a pytree like `params` where parts have their own."""
        ...

    def init(self, key: Any, image: jax.Array) -> Any:
        """A random start."""
        ...

    def apply(self, params: Any, image: jax.Array) -> jax.Array:
        """The perturbed image, in [0, 1]."""
        ...

    def direction(self, grad: Any, params: Any, image: jax.Array) -> Any:
        """The steepest ascent, of length 1 in the threat's own norm."""
        ...

    def project(self, params: Any, image: jax.Array) -> Any:
        """A feasible point near `params`."""
        ...

    def size(self, params: Any, image: jax.Array) -> jax.Array:
        """What is compared with the budget."""
        ...


class Attack(Protocol):
    """How to search; `steps` calls of `step` are one restart."""

    threat: Any
    objective: Any
    steps: int
    restarts: int

    def init(self, key: Any, model: Any, image: Any, label: Any) -> Any: ...

    def step(self, state: Any, model: Any, image: Any, label: Any) -> Any: ...

    def finish(self, state: Any, model: Any, image: Any, label: Any) -> Any:
        """The threat's `params` that are returned."""
        ...


class Defense(Protocol):
    """A training method."""

    def init(self, image_shape: tuple[int, ...], examples: int) -> Any:
        """The memory that the state keeps from step to step."""
        ...

    def loss(self, params: Any, state: Any, batch: Any, key: Any) -> Any:
        """(loss, `defenses.base.Output`)."""
        ...


class Augmentation(Protocol):
    """A random change of one training image [h, w, c] that keeps its label."""

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array: ...


class Mixing(Protocol):
    """One training image [h, w, c] of two, and the share of it that the first has."""

    def __call__(
        self, key: jax.Array, image: jax.Array, other: jax.Array
    ) -> tuple[jax.Array, jax.Array]: ...


class Distance(Protocol):
    """How far two images [h, w, c] are from one another, a scalar."""

    def __call__(self, image: jax.Array, other: jax.Array) -> jax.Array: ...


class Network(Protocol):
    """A linen module that can be trained: it is told `num_classes` and `train`."""

    num_classes: int

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array: ...


def lacking(make: type, noun: type) -> list[str]:
    """What a protocol has and a class, by its attributes and fields, has not."""
    wanted = {*vars(noun).get("__annotations__", {}), *vars(noun)}
    has = {field.name for field in dataclasses.fields(make)}
    has |= {name for kind in make.__mro__ for name in vars(kind)}
    public = {name for name in wanted if name == "__call__" or name[0] != "_"}
    return sorted(public - has)


def is_attack(part: Any) -> bool:
    parts = ("init", "step", "finish", "threat", "objective")
    return not isinstance(part, type) and all(hasattr(part, name) for name in parts)


# Of an attack ------------------------------------------------------------------------


def passes(attack: Any) -> tuple[int, int]:
    """Forward and backward passes of a step; one of each where it does not say."""
    return getattr(attack, "passes", (1, 1))


def takes_gradient(attack: Any) -> bool:
    return passes(attack)[1] > 0


def minimizes(attack: Any) -> bool:
    """Whether it searches the smallest perturbation, the budget being a bound."""
    return getattr(attack, "minimizes", False)


def records(attack: Any) -> bool:
    """Whether it has `trace(state, model, image, label)`: what was seen on the way."""
    return hasattr(attack, "trace")


# Of an objective ---------------------------------------------------------------------


def chain(objective: Any) -> Iterator[Any]:
    """The objective, the one inside it, and so on."""
    while objective is not None:
        yield objective
        objective = getattr(objective, "objective", None)


def has_goal(objective: Any) -> bool:
    """Whether success is asked of the logits of one image alone."""
    return hasattr(objective, "goal")


def has_goal_at(objective: Any) -> bool:
    """Whether it asks several networks or images for its success."""
    return hasattr(objective, "goal_at")


def has_losses(objective: Any) -> bool:
    """Whether it has one loss for each of several domains."""
    return hasattr(objective, "losses")


def has_score(objective: Any) -> bool:
    """Whether it has `score`: a value that keeps digits which its own may lose."""
    return hasattr(objective, "score")


def draws(objective: Any) -> int:
    """How many keys of a random network one value of it takes."""
    return getattr(objective, "samples", 1)


def gradient_draws(objective: Any) -> int:
    """How many keys its value, and so its gradient, is made of.

    The product of what it and those inside it take; one that only passes on what is
    inside says so by `gradient_samples = 1`.
    """
    each = (getattr(part, "gradient_samples", draws(part)) for part in chain(objective))
    return math.prod(each)


def takes_noise_out(objective: Any) -> bool:
    """Whether it asks the network without its noise, for which no draw counts."""
    return any(getattr(part, "noiseless", False) for part in chain(objective))


def network_passes(attack: Any) -> tuple[int, int]:
    """Forward and backward passes of a step, those of all draws counted.

    The value and the question for success share their passes where they are equal.
    """
    forward, backward = passes(attack)
    asked, climbed = draws(attack.objective), gradient_draws(attack.objective)
    shared = asked == climbed and not takes_noise_out(attack.objective)
    return forward * (climbed if shared else climbed + asked), backward * climbed


def flat_at_image(objective: Any) -> bool:
    """Whether its gradient is zero at the clean image."""
    return getattr(objective, "flat_at_image", False)


# Of a threat -------------------------------------------------------------------------


def norm(threat: Any) -> str | None:
    """ "linf", "l2", "l1" or "l0" of an additive ball; None of anything else."""
    return getattr(threat, "norm", None)


def counts_pixels(threat: Any) -> bool:
    """Whether an l0 ball counts pixels, and not channels."""
    return getattr(threat, "pixels", False)


def has_distance(threat: Any) -> bool:
    """Whether its size is a `distance` of two images, whoever made them."""
    return hasattr(threat, "distance")


def distance(part: Any) -> Any:
    """The `distance` of a threat, or a part that is called as one itself."""
    return part.distance if has_distance(part) else part


def self_bounded(threat: Any) -> bool:
    """Whether that distance is the attacked network's own."""
    return has_distance(threat) and getattr(threat, "network", 0) is None


def has_roughness(threat: Any) -> bool:
    """Whether its parameters have a `roughness` that a search can pay for."""
    return hasattr(threat, "roughness")


def has_maximizer(threat: Any) -> bool:
    """Whether it has `maximize`: the exact maximizer of a linear function."""
    return hasattr(threat, "maximize")


def has_grid(threat: Any) -> bool:
    return hasattr(threat, "grid")


def has_eps(threat: Any) -> bool:
    return hasattr(threat, "eps")


def unbounded(threat: Any) -> bool:
    """Whether nothing bounds its size: the eps is infinite, and the attack pays."""
    return getattr(threat, "unbounded", False)


def wants(part: Any) -> dict[str, str]:
    """Field -> feature of the data set that fills it in, image by image."""
    return dict(getattr(part, "wants", {}))


def takes_groups(part: Any) -> bool:
    """Whether a threat or a kind of domains takes groups of images [k, h, w, c]."""
    return getattr(part, "groups", False)


# Of an objective or a threat ---------------------------------------------------------


def is_bound(part: Any) -> bool:
    """Whether it depends on the clean image, and has `bind`."""
    return hasattr(part, "bind")


def bind(part: Any, model: Any, image: Any, label: Any, key: Any) -> Any:
    """`part` with what depends on the clean image filled in, if it has any."""
    return part.bind(model, image, label, key) if is_bound(part) else part


def restarted(part: Any, restart: Any) -> Any:
    """`part` as restart number `restart` needs it, if that makes a difference."""
    return part.restarted(restart) if hasattr(part, "restarted") else part


# Of a defense ------------------------------------------------------------------------


def noise_loss(defense: Any) -> Any:
    """What a step of the noise's params alone, before each step, makes smaller.

    A function of (params, train state); None where there is no such step.
    """
    own = getattr(defense, "alternate", False)
    return getattr(defense, "noise_loss", None) if own else None


def crafts(defense: Any) -> bool:
    """Whether it has `craft(params, state, batch, key)`, and a loss that takes what
    that returns as its last argument, so that one crafting serves several losses."""
    return hasattr(defense, "craft")


def is_silent(defense: Any) -> bool:
    """Whether it trains a random network without its noise."""
    return not getattr(defense, "noisy", True)


def noise_since(defense: Any) -> int | None:
    """The epochs that it believes to have been trained without noise before it; None
    where it does not count them, or is one of them."""
    return None if is_silent(defense) else getattr(defense, "since", None)


def takes_targets(defense: Any) -> bool:
    """Whether it learns the probabilities `target` of a batch where there are some."""
    return getattr(defense, "takes_targets", False)


# Of an augmentation ------------------------------------------------------------------


def geometric(augmentation: Any) -> bool | None:
    """Whether it moves pixels, any number of channels alike; None if it says nothing.

    A geometric one moves the image's mask as well.
    """
    return getattr(augmentation, "geometric", None)


# Of a network ------------------------------------------------------------------------


def has_features(model: Any) -> bool:
    """Whether it has `features`: the taps of perceptual distances."""
    return hasattr(model, "features")


def full_precision(model: Any) -> Any:
    """`model`, or each network of an ensemble, computing in float32 where it can."""
    if isinstance(model, (tuple, list)):
        return tuple(full_precision(one) for one in model)
    return model.full_precision() if hasattr(model, "full_precision") else model


def random_streams(module: Any) -> tuple[str, ...]:
    """The random streams that a linen module draws from in evaluation, too."""
    return tuple(getattr(module, "eval_rngs", ()))


def inside(module: Any) -> Any:
    """The network that it stands around; None of one that stands alone."""
    return getattr(module, "network", None)


def shares_noise(module: Any) -> bool:
    """Whether, in training, one draw of those streams serves all images of a step."""
    return getattr(module, "shares_noise", False)


# The subtree of a random network's variables that are those of the network inside.
INSIDE = "weights"


def learns_noise(module: Any) -> str:
    """The subtree of its params that says how strong its noise is; "" for none."""
    return getattr(module, "learns", "")


def has_penalty(module: Any) -> bool:
    """Whether it has `penalty(params)`: what its noise costs in training, a scalar."""
    return hasattr(module, "penalty")


def constrain(module: Any, params: Any) -> Any:
    """`params` as the module allows them, after every step of the training."""
    return module.constrain(params) if hasattr(module, "constrain") else params


def can_be_silent(module: Any) -> bool:
    """Whether it has `silent(params)`: those of the same network without noise."""
    return hasattr(module, "silent")


def silent(module: Any, params: Any) -> Any:
    """The params of the same network without noise, where it can do without."""
    return module.silent(params) if can_be_silent(module) else params
