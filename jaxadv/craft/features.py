"""Features of a data set, as masks: which ones parts want, and where they go."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp

from jaxadv import protocols, specs
from jaxadv.classifier import Classifier
from jaxadv.specs import UsageError


def wanted(part: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields path -> feature of the data set of what parts want of each image."""
    for name, feature in protocols.wants(part).items():
        yield f"{path}{name}", feature
    for field in specs.fields(type(part)):
        value = getattr(part, field.name)
        several = isinstance(value, tuple)
        for i, one in enumerate(value if several else (value,)):
            if dataclasses.is_dataclass(one) and not isinstance(one, Classifier):
                name = f"{field.name}.{i}" if several else field.name
                yield from wanted(one, f"{path}{name}.")


def features_of(parts: Iterable[Any]) -> tuple[str, ...]:
    """The names of all features that any of the parts wants."""
    return tuple(sorted({name for part in parts for _, name in wanted(part)}))


def filled(
    attack: Any, per_image: Mapping[str, Any], features: Mapping[str, Any]
) -> Mapping[str, Any]:
    """`per_image` with the features that the attack wants and are not given there.

    Raises:
      UsageError: a feature is not there.
    """
    if not isinstance(per_image, Mapping):
        return per_image
    found = dict(per_image)
    for path, feature in wanted(attack):
        if path in found:
            continue
        if feature not in features:
            there = ", ".join(sorted(features)) or "none"
            raise UsageError(
                f"{path} is the {feature} of each image in the data set, whose images "
                f"have no {feature} (they have: {there}); give features={{{feature!r}: "
                f"…}}, per_image={{{path!r}: …}}, or another {path}"
            )
        found[path] = jnp.asarray(features[feature], jnp.float32)
    return found
