"""Checks of what a caller gives the drivers, before anything is crafted.

Types, dtypes, shapes and paths are checked under jit as well, where they cost nothing.
Values are looked at on the host where they are known, or, if asked for, by a callback.
"""

import dataclasses
import functools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError

from jaxadv import arrays, protocols, specs
from jaxadv.classifier import Classifier
from jaxadv.craft.features import filled
from jaxadv.mapped import IMAGES
from jaxadv.specs import UsageError, UsageWarning

_LARGEST = np.iinfo(np.int32).max


class UnitsWarning(UsageWarning):
    """A budget is most likely given in another unit than it has."""


@dataclasses.dataclass(frozen=True)
class Given:
    """Checked arguments: what both drivers run on; see `craft`."""

    images: Any
    labels: Any
    ids: Any
    fields: dict[str, Any]


def check(
    attack: Any,
    model: Any,
    key: Any,
    images: Any,
    labels: Any,
    ids: Any,
    per_image: Mapping[str, Any] | None,
    debug: bool = False,
    features: Mapping[str, Any] | None = None,
) -> Given:
    """The arguments of a driver, labels, ids and fields as arrays.

    Args:
      features: of the images, by name; see `craft`.
      debug: look at the values of traced arguments too, when the program runs.

    Raises:
      UsageError: one of them is not what the driver takes.
    """
    _check_attack(attack)
    _check_key(key)
    arrays.check_images(images)
    labels, count = _as_array(labels), images.shape[0]
    _check_groups(attack, images)
    arrays.check_labels(labels, tuple(images.shape[:-3]))
    ids = np.arange(count) if ids is None else _as_array(ids)
    _check_ids(ids, count)
    own = dict(numbers(attack))
    per_image = {} if per_image is None else per_image
    fields = _fields(filled(attack, per_image, features or {}), own, count)
    values = {"images": images, "labels": labels, "ids": ids}
    values |= {path: getattr(part, field.name) for path, (part, field) in own.items()}
    values |= fields
    _check_ensemble(attack.objective, model)
    _check_weights("model", model)
    _check_weights("attack", attack)
    known = {path: arrays.concrete(v) for path, v in values.items() if _numeric(v)}
    hidden = {path: values[path] for path, value in known.items() if value is None}
    known = {path: value for path, value in known.items() if value is not None}
    rules = {path: field for path, (_, field) in own.items()}
    classes = None
    judged = debug or "labels" in known or known.keys() & _targets(rules)
    # An objective of its own may take anything in a model's place.
    if judged and (isinstance(model, tuple) or callable(model)):
        classes = fit(model, images.shape[-3:])
    look = functools.partial(_check_values, rules, classes)
    look(known)
    if "images" in known:
        warn_units({"": attack}, fields)
    if debug and hidden:
        jax.debug.callback(look, hidden)
    return Given(images, labels, ids, fields)


def check_count(name: str, value: Any) -> None:
    """Raises UsageError unless `value` is a whole number of at least 1."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < 1:
        raise UsageError(f"{name} is {value!r}; it must be a whole number >= 1")


def numbers(part: Any, path: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yields path -> (owner, field) of what may differ by image in `part`.

    Those are the leaves that are declared, neither networks nor what `bind` fills in.
    """
    for field in specs.fields(type(part)):
        rule, value = field.metadata, getattr(part, field.name)
        if "bound" in rule or not rule.get("pytree_node", True):
            continue
        if isinstance(value, Classifier):
            continue
        if dataclasses.is_dataclass(value):
            yield from numbers(value, f"{path}{field.name}.")
        elif "registry" not in rule:
            yield f"{path}{field.name}", (part, field)


def fit(model: Any, shape: tuple[int, ...]) -> int:
    """The number of classes of a model, or the least of an ensemble; computes nothing.

    Args:
      model: a Classifier or another function of (image, key), or a tuple of them.
      shape: of an image, [h, w, c].

    Raises:
      UsageError: images of that shape do not fit it, or its logits are no [classes].
    """
    if isinstance(model, tuple):
        return min(fit(one, shape) for one in model)
    image = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
    key = jax.random.key_data(jax.random.key(0))
    try:
        if any(map(callable, jax.tree.leaves(model))):
            logits = jax.eval_shape(functools.partial(_mapped, model), image, key)
        else:  # jit keeps what it has traced for the next call
            logits = _called.eval_shape(model, image, key)
    except arrays.BadLogits:
        raise
    except (ValueError, TypeError, FlaxError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"images of shape {tuple(shape)} do not fit the model ({reason})"
        ) from error
    arrays.check_logits(logits)
    return logits.shape[0]


@jax.jit
def _called(model, image, key):
    return _mapped(model, image, key)


def _mapped(model, image, key):
    """What a model makes of one image, mapped as the drivers map many."""
    found = jax.vmap(model, (0, None), axis_name=IMAGES)(image[None], key)
    return jax.tree.map(lambda x: x[0], found)


def warn_units(
    attacks: Mapping[str, Any], fields: Mapping[str, Any] | None = None
) -> None:
    """Warns, once, of a budget in l-infinity that is more than the range of pixels.

    Args:
      attacks: path -> attack; only concrete numbers are looked at.
      fields: path -> values that differ by image, in place of the attacks' own.

    Warns:
      UnitsWarning: of the first.
    """
    for place, attack in attacks.items():
        for path, norm, eps in _budgets(attack.threat, "threat"):
            eps = arrays.concrete((fields or {}).get(f"{path}.eps", eps))
            if norm == "linf" and eps is not None and np.any(eps > 1):
                eps = float(np.max(eps))
                path = f"{place}.{path}" if place else path
                warnings.warn(
                    f"{path}.eps is {eps:g}, more than the whole range [0, 1] of a "
                    f"pixel: is / 255 forgotten? {eps:g} / 255 is {eps / 255:.4g}",
                    UnitsWarning,
                    stacklevel=1,  # one place, so that Python tells it once
                )
                return


def _budgets(threat, path):
    """Yields (path, norm, eps) of the lp balls in a threat."""
    if protocols.norm(threat):
        yield path, threat.norm, threat.eps
        return
    if isinstance(threat, Classifier) or not dataclasses.is_dataclass(threat):
        return
    for field in dataclasses.fields(threat):
        value = getattr(threat, field.name)
        for part in value if isinstance(value, (tuple, list)) else (value,):
            yield from _budgets(part, f"{path}.{field.name}")


def _check_attack(attack):
    if not protocols.is_attack(attack):
        name = attack.__name__ if isinstance(attack, type) else type(attack).__name__
        kind = "the class" if isinstance(attack, type) else "a"
        raise UsageError(
            f"attack is {kind} {name}; it must be an attack, as "
            "Ascent(Linf(8 / 255), …): the arguments are attack, model, key, images, "
            "labels"
        )


def _check_key(key):
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if (typed and shape == ()) or (dtype == np.uint32 and shape and len(shape) == 1):
        return
    told = repr(key) if dtype is None else f"an array of {dtype}, shape {shape}"
    raise UsageError(f"key is {told}; it must be one key, as jax.random.key(0)")


def _as_array(value):
    return value if isinstance(value, jax.Array) else np.asarray(value)


def _check_groups(attack, images):
    """Whether images are single ones or groups is known of threats and domains."""
    shape, over = tuple(images.shape), getattr(attack.objective, "over", None)
    if len(shape) == 5 and not protocols.takes_groups(attack.threat):
        name = type(attack.threat).__name__
        raise UsageError(
            f"images: the shape is {shape}; {name} takes [n, h, w, c]: a Shared threat "
            "takes groups"
        )
    if len(shape) == 4 and protocols.takes_groups(over):
        name = type(over).__name__
        raise UsageError(
            f"images: the shape is {shape}; the objective is over {name} of a group, "
            "[n, k, h, w, c]: give images[None] for one group"
        )


def _check_ids(ids, count):
    if ids.dtype.kind not in "iu" or ids.shape != (count,):
        raise UsageError(
            f"ids: {ids.dtype} of shape {tuple(ids.shape)}; they must be whole numbers "
            f"of shape ({count},), one for each image"
        )


def _check_ensemble(objective, model):
    if isinstance(model, list):
        raise UsageError("model is a list; an ensemble is a tuple of classifiers")
    if model is None or (isinstance(model, tuple) and not model):
        raise UsageError(f"model is {model}; give a Classifier, or a tuple of some")
    if isinstance(model, tuple) and not protocols.has_goal_at(objective):
        name = type(objective).__name__
        raise UsageError(
            f"model is a tuple of {len(model)} and the objective {name} asks one "
            f"network: give Weighted(objective={name}(…)) for an ensemble"
        )


def _check_weights(where, tree):
    """Refuses NaN in known weights of the classifiers in a tree.

    Infinite ones pass: of -inf the masks of attention and of classes are made.
    """

    def network(part):
        return isinstance(part, Classifier)

    for place, part in jax.tree_util.tree_leaves_with_path(tree, is_leaf=network):
        weights = part.variables if network(part) else ()
        for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
            if not jnp.issubdtype(getattr(leaf, "dtype", bool), jnp.floating):
                continue
            known = arrays.concrete(leaf)
            if known is not None and (count := np.sum(np.isnan(known))):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise UsageError(
                    f"{where}{jax.tree_util.keystr(place)}: {count} of the "
                    f"{known.size} numbers of {name or 'its weights'} are NaN; "
                    "take other weights"
                )


def _fields(per_image, own, count):
    """`per_image` as arrays [n, …] of fields that the attack has."""
    if not isinstance(per_image, Mapping):
        name = type(per_image).__name__
        raise UsageError(f"per_image is a {name}; it must be field path -> values")
    fields = {}
    for path, value in specs.known(per_image, own, "per_image").items():
        value, where = _as_array(value), f"per_image[{path!r}]"
        number = specs.is_number(own[path][1])
        if value.shape[:1] != (count,) or (number and value.ndim > 1):
            wanted = f"({count},)" if number else f"({count}, …)"
            raise UsageError(
                f"{where}: the shape is {value.shape}; it must be {wanted}, a value "
                "for each image"
            )
        whole = "class_index" in own[path][1].metadata
        kinds = "iu" if whole else "iuf" if number else "biuf"
        if value.dtype.kind not in kinds:
            raise UsageError(
                f"{where}: the dtype is {value.dtype}; give "
                + ("whole numbers, indices of classes" if whole else "numbers")
            )
        fields[path] = value
    return fields


def _numeric(value):
    """Whether a field holds numbers, and not None or a tree."""
    return isinstance(value, (int, float, np.ndarray, np.generic, jax.Array))


def _targets(rules):
    return {path for path, field in rules.items() if "class_index" in field.metadata}


def _check_values(rules, classes, values):
    """Checks numbers on the host.

    Args:
      rules: path -> field of the attack's numbers.
      classes: of the network, or None where classes are not judged.
      values: "images", "labels", "ids" and path -> array, those that are known.
    """
    values = {path: np.asarray(value) for path, value in values.items()}
    for path, field in rules.items():
        if path in values:
            specs.check_bounds(values[path], field, path)
    ids = values.get("ids")
    if ids is not None:
        _check_distinct(ids)
    images, labels = values.get("images"), values.get("labels")
    if images is not None:
        arrays.check_pixels(images, np.arange(len(images)) if ids is None else ids)
    if classes is None:
        return
    targets = {path: values[path] for path in _targets(rules) & values.keys()}
    for path, target in targets.items():
        arrays.check_classes(target, classes, ids, path)
    if labels is not None:
        rows = np.arange(len(labels)) if ids is None else ids
        arrays.check_classes(labels, classes, rows)
        for path, target in targets.items():
            _warn_own(path, target, labels, rows)


def _check_distinct(ids):
    if np.any(ids < 0) or np.any(ids > _LARGEST):
        raise UsageError(
            f"ids: they go from {np.min(ids)} to {np.max(ids)}; they must be from 0 to "
            f"{_LARGEST}"
        )
    found, counts = np.unique(ids, return_counts=True)
    if np.any(counts > 1):
        raise UsageError(
            f"ids: {found[counts > 1][0]} is given {np.max(counts)} times; they must "
            "be distinct, as an example's randomness is that of its id"
        )


def _warn_own(path, target, labels, ids):
    """Says which images are to become what they are."""
    target = target.reshape(target.shape + (1,) * (labels.ndim - target.ndim))
    own = np.any((labels == target).reshape(len(labels), -1), axis=1)
    if np.any(own):
        warnings.warn(
            f"{path} is the label itself of {np.sum(own)} of {len(labels)} images "
            f"({arrays.examples(ids, own)}): there success says nothing; leave them "
            "out, or give per_image other targets",
            UsageWarning,
            stacklevel=2,
        )
