"""One call from arrays to a verdict: `jaxadv.evaluate` and `jaxadv.autoattack`."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from jaxadv import hints, parallel, protocols, schema, specs
from jaxadv.completion import complete
from jaxadv.data import checked
from jaxadv.evaluation import result
from jaxadv.evaluation.run import meters
from jaxadv.evaluation.suite import config, described, shipped
from jaxadv.specs import UsageError, plain

_VERSIONS = "autoattack"  # the suite whose file takes a norm


def evaluate(
    model: Any,
    images: Any,
    labels: Any,
    suite: Any = "autoattack",
    *,
    norm: str | None = None,
    eps: float | None = None,
    examples: int | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    checks: str | None = None,
    class_names: Sequence[str] | None = None,
    features: Mapping[str, Any] | None = None,
    name: str = "",
    data: str = "images",
    folder: str | Path | None = None,
    keep_images: bool = True,
    progress: bool = True,
) -> result.Result:
    """Attacks a model on images and judges what comes back.

    Args:
      model: a Classifier, or a tuple of them of equal classes, for attacks on several
        networks as `MinMax`: it is right where one of them is. Of a tuple nothing is
        checked (`checks`).
      images: [n, h, w, c], uint8 or float32 in [0, 1].
      labels: [n] class indices.
      suite: a name of `configs/suites` as "autoattack", "quick" or "autoattack:plus";
        the path of such a file; a suite as ConfigDict or dictionary (see
        `jaxadv.evaluation.suite.config`); an attack; or a dictionary of attacks by
        label, each an object or a spec.
      norm: "linf", "l2" or "l1", for suites that leave it open: AutoAttack. By default
        "linf".
      eps: the budget of the attacks that have none, in [0, 1] units for lp balls.
      examples: how many images, drawn by the seed; more than there are is all of
        them. None: what a suite that is no name or file says, and otherwise all.
      seed: of the draw and of the attacks; None: the suite's.
      batch_size: images at a time on each device; None: the suite's, or fewer where
        there are fewer.
      checks: "cheap", "full" or "none", of the result; None: the suite's.
      class_names: one for each class, for the pictures.
      features: of the images in their data set, as {"mask": [n, h, w, 1]}, for
        attacks that want them (see `craft`) and the suite's `saliency`.
      name: of the model, for the report.
      data: the name of the images, for the report.
      folder: everything is written there, as eval.py does, and the same call goes on
        where a killed one stopped. None: nothing is written; see `Result.save`.
      keep_images: the result has all adversarial images, which take memory.
      progress: show a bar or lines on stderr.

    Raises:
      UsageError: an argument is not what it must be, or the logits are not numbers.

    Example:
      >>> model = ja.Classifier.from_function(lambda w, x, key: x.ravel(), None)
      >>> images = np.random.default_rng(0).random((20, 2, 2, 1), np.float32)
      >>> labels = images.reshape(20, 4).argmax(axis=1)
      >>> fgsm = ja.Fgsm(ja.Linf(0.1))
      >>> result = ja.evaluate(
      ...     model, images, labels, {"fgsm": fgsm}, checks="none", progress=False
      ... )
      >>> result.clean_accuracy, result.accuracy
      (1.0, 0.5)
      >>> result.adversarial["fgsm"].shape
      (20, 2, 2, 1)
    """
    model = _network(model)
    source = _Images.of(images, labels, class_names, data, features or {})
    given: dict[str, Any] = _config(suite, norm, eps)
    count = _count(given, examples, len(source), _is_own(suite))
    if isinstance(model, tuple):
        checks = _unchecked(checks)
    fields = {"seed": seed, "checks": checks, "batch_size": batch_size}
    given |= {k: v for k, v in fields.items() if v is not None}
    if batch_size is None:
        each = -(-count // jax.local_device_count())
        given["batch_size"] = min(int(given.get("batch_size") or _BATCH), each)
    plan = config.resolve(given | {"examples": count, "split": "given"})
    where = None if folder is None else Path(folder)
    shown = meters.Progress if progress else _Silent
    with contextlib.nullcontext() if where is None else parallel.held(where):
        found = result.find(
            model,
            plan,
            source,
            where,
            {"name": name},
            keep=keep_images,
            quiet=not progress,
            progress=shown,
        )
        if where is not None and parallel.is_primary():
            found.write(where, stage=meters.Stage if progress else meters.unsaid)
    return found


def autoattack(
    model: Any,
    images: Any,
    labels: Any,
    norm: str = "linf",
    eps: float | None = None,
    *,
    version: str = "standard",
    **options: Any,
) -> result.Result:
    """AutoAttack (Croce and Hein, 2020) on images; `evaluate` has the other arguments.

    Args:
      model: see `evaluate`.
      images: see `evaluate`.
      labels: see `evaluate`.
      norm: "linf", "l2" or "l1".
      eps: the budget in [0, 1] units, as 8 / 255.
      version: "standard", "plus", "rand", or components as "apgd_ce+square".
      **options: arguments of `evaluate`.

    Raises:
      UsageError: as `evaluate`.

    Example:
      >>> model = ja.Classifier.from_function(lambda w, x, key: x.ravel(), None)
      >>> images, labels = np.full((4, 2, 2, 1), 0.5, np.float32), np.zeros(4, int)
      >>> images[:, 0, 0, 0] = 0.6, 0.7, 0.8, 0.9
      >>> result = ja.autoattack(
      ...     model, images, labels, "linf", 0.12, version="apgd_ce",
      ...     checks="none", progress=False,
      ... )
      >>> result.accuracy
      0.5
    """
    suite = f"{_VERSIONS}:{version}"
    return evaluate(model, images, labels, suite, norm=norm, eps=eps, **options)


_BATCH: Any = schema.fill(config.Fields)["batch_size"]


def _network(model):
    if isinstance(model, nn.Module):
        raise UsageError(
            f"model is a linen module, {type(model).__name__}, without its weights; "
            "give Classifier.from_linen(module, variables)"
        )
    if isinstance(model, (tuple, list)) and model:
        return tuple(_network(one) for one in model)
    if not callable(model):
        raise UsageError(
            f"model is of type {type(model).__name__}; give a Classifier, as "
            "Classifier.from_linen(module, variables) or Classifier.from_function(…)"
        )
    return model


def _unchecked(checks):
    """No checks, which look at one network."""
    if checks not in (None, "none"):
        raise UsageError(
            f"checks is {checks!r}, but they look at one network: leave checks out, or "
            "give one Classifier"
        )
    return "none"


@dataclasses.dataclass(frozen=True)
class _Images:
    """Arrays as the images of an evaluation."""

    name: str
    class_names: tuple[str, ...] | None
    columns: dict[str, np.ndarray]

    @classmethod
    def of(cls, images, labels, class_names, name, features):
        images, labels = np.asarray(images), np.asarray(labels)
        if images.ndim != 4 or not len(images):
            raise UsageError(
                f"images are {list(images.shape)}; give [n, h, w, c], channels last, "
                "and at least one"
            )
        if labels.shape != images.shape[:1]:
            raise UsageError(
                f"labels are {list(labels.shape)} for {len(images)} images; give one "
                "class index for each, [n]"
            )
        specs.known(features, dict.fromkeys(protocols.FEATURES), "features")
        maps = {
            key: checked.mask(np.asarray(values), images, "features")
            for key, values in features.items()
        }
        names = tuple(class_names) if class_names else None
        return cls(name, names, {"image": images, "label": labels, **maps})

    def __len__(self):
        return len(self.columns["label"])

    def get(self, ids):
        return {name: column[ids] for name, column in self.columns.items()}


def _is_own(suite):
    """Whether a suite was given whole, so that its own `examples` are meant."""
    return isinstance(suite, (Mapping, ConfigDict))


def _config(suite, norm, eps):
    """The plain suite config, its norm and its eps filled in."""
    given = _found(suite, norm)
    _check_norm(given, norm)
    opened = _open(given)
    if eps is not None and not opened:
        raise UsageError(
            f"eps is {eps}, but every attack of this suite has its own; leave eps out, "
            "or give attacks whose eps is None"
        )
    if eps is None and given.get("eps") is None and opened:
        raise UsageError(
            f"eps is not given, and {opened[0]} needs it; give the budget, as "
            "eps=8/255, in [0, 1] units for lp balls"
        )
    return given if eps is None else given | {"eps": _number(eps)}


def _number(eps):
    value = hints.number(eps)
    if isinstance(value, bool | str):
        raise UsageError(f"eps is {eps!r}; it must be a number, as 8/255")
    return float(value)


def _found(suite, norm):
    if isinstance(suite, (str, Path)):
        text = str(suite)
        file, _, version = text.partition(":")
        if file == _VERSIONS and "," not in version:
            text = f"{file}:{version or 'standard'},{norm or 'linf'}"
        return plain(complete(shipped.load(text), config.KINDS))
    if protocols.is_attack(suite):
        return {"attacks": {described.spec(suite, "suite")["name"]: suite}}
    if not _is_own(suite):
        raise UsageError(
            f"suite is of type {type(suite).__name__}; give a name, a path, a suite "
            "config, or attacks by label"
        )
    if "attacks" in suite:
        return plain(suite)
    return {"attacks": plain(suite)}


def _check_norm(given, norm):
    names = {str(threat) for _, threat in _balls(given)}
    if norm is not None and names != {norm}:
        raise UsageError(
            f"norm is {norm!r}, but the attacks of this suite look in "
            f"{', '.join(sorted(names)) or 'no ball'}; leave norm out, or "
            "take suite='autoattack', which has linf, l2 and l1"
        )


def _balls(given):
    """(label, name of the threat) of each attack."""
    for label, attack in given["attacks"].items():
        if isinstance(attack, Mapping):
            threat = attack.get("threat")
            name = threat.get("name") if isinstance(threat, Mapping) else threat
            yield label, name
        elif protocols.is_attack(attack):
            yield label, described.spec(attack, label)["threat"]["name"]


def _open(given):
    """The attacks that have an eps of None, by label."""
    curve = (given.get("curve") or {}).get("attack")
    every = {**given["attacks"], **({"curve": curve} if curve else {})}
    return [label for label, attack in every.items() if _is_open(attack)]


def _is_open(spec):
    if isinstance(spec, (tuple, list)):
        return any(map(_is_open, spec))
    if not isinstance(spec, Mapping):
        return False
    return ("eps" in spec and spec["eps"] is None) or any(map(_is_open, spec.values()))


def _count(given, examples, size, own):
    if examples is None and own:
        examples = given.get("examples")
    if examples is None:
        return size
    if not isinstance(examples, int) or isinstance(examples, bool) or examples < 0:
        raise UsageError(f"examples is {examples!r}; it must be a whole number >= 0")
    return min(examples or size, size)


class _Silent(meters.Progress):
    """Shows nothing."""

    def __init__(self, label: str, total: int, wrong: int = 0):
        pass

    def update(self, done: int, broken: int) -> None:
        pass

    def close(self) -> None:
        pass
