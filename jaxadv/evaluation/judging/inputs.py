"""The images of an evaluation, and the checks that they and the network fit."""

import hashlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxadv import arrays, parallel, protocols
from jaxadv.classifier import Classifier
from jaxadv.craft import fit
from jaxadv.specs import UsageError


def read(source: Any, ids: np.ndarray) -> dict[str, np.ndarray]:
    """`id` int32 [n], `label` int32 [n], `image` float32 [n, h, w, c] in [0, 1], and
    those of `protocols.FEATURES` that the set has.

    Raises:
      UsageError: the source has images that are neither uint8 nor float32, or labels
        that are no integers, or not one for each image.
    """
    rows = source.get(ids)
    images, labels = np.asarray(rows["image"]), np.asarray(rows["label"])
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / np.float32(255)
    arrays.check_float32(images, "data")
    arrays.check_labels(labels, images.shape[:1], "data: labels")
    return {
        "id": np.asarray(ids, np.int32),
        "label": labels.astype(np.int32),
        "image": images,
        **{name: np.asarray(rows[name]) for name in protocols.FEATURES if name in rows},
    }


def check_fit(model: Any, data: dict[str, np.ndarray]) -> int:
    """The number of classes of a model that the images fit.

    Raises:
      UsageError: they do not.
    """
    shape = data["image"].shape[1:]
    if len(shape) != 3:
        raise UsageError(f"data: images of shape {shape}; it must be [h, w, c]")
    for field in ("mean", "std"):
        size = np.size(getattr(model, field, 0.0))
        if size not in (1, shape[-1]):
            raise UsageError(
                f"data: images have {shape[-1]} channels, the checkpoint's "
                f"normalization has {size}; give the data set it was trained on"
            )
    try:
        return fit(model, shape)
    except arrays.BadLogits:
        raise
    except UsageError as error:
        raise UsageError(
            f"data: {error}; give images like those it was trained on, and whatever "
            "its call needs: Classifier.from_linen(…, evaluation={name: value})"
        ) from None


def check_values(data: dict[str, np.ndarray], classes: int) -> None:
    """Raises UsageError for pixels outside [0, 1] and labels outside the classes."""
    image, label = data["image"], data["label"]
    _refuse(
        data["id"],
        arrays.outside(image),
        "data: {count} images have values outside [0, 1] or NaN ({first}); scale them",
    )
    _refuse(
        data["id"],
        arrays.foreign(label, classes),
        f"data: {{count}} labels are outside the model's {classes} classes ({{first}})"
        "; give the data set it was trained on",
    )


def check_silent(model: Any, attacks: Any) -> None:
    """Raises UsageError where an attack wants a network without noise that cannot be.

    Args:
      model: a Classifier, or a tuple of them.
      attacks: each with `label` and `attack`.
    """
    for planned in attacks:
        if not protocols.takes_noise_out(planned.attack.objective):
            continue
        for one in model if isinstance(model, tuple) else (model,):
            try:
                one.without_noise()
            except UsageError as error:
                raise UsageError(f"config.attacks.{planned.label}: {error}") from None


def check_saliency(network: Any, data: dict[str, np.ndarray], name: str) -> None:
    """Raises UsageError where a saliency network, or None, does not fit the images."""
    if network is None:
        return
    if "mask" not in data:
        raise UsageError(
            f"config.saliency: {name} has no masks; `jaxadv masks` makes them"
        )
    try:
        jax.eval_shape(network, data["image"][0])
    except Exception as error:  # whatever a network of others raises
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"config.saliency: the network does not fit images of "
            f"{data['image'].shape[1:]} ({reason}); give one trained on such images"
        ) from None


def refuse_nan(ids: np.ndarray, nan: np.ndarray, where: str) -> None:
    """Raises UsageError where an entry of `nan` [n] is true on any process."""
    _refuse(
        ids,
        nan,
        f"model: {{count}} {where} give logits that are not numbers ({{first}}); "
        "nothing is reported",
    )


def _refuse(ids, bad, message):
    """Raises on every process where an example of any process is bad."""
    ids, bad = parallel.gather_rows((np.asarray(ids), np.asarray(bad)))
    if not np.any(bad):
        return
    count = int(np.sum(bad))
    raise UsageError(message.format(count=count, first=arrays.examples(ids, bad)))


def fingerprint(model: Any, clean: dict[str, np.ndarray], where: str) -> str:
    """Names these weights, these images and this software.

    The clean margins stand for the images and for what is not a weight: the network
    and its preprocessing.
    """
    code = digest(model)
    for name in ("id", "label", "clean/margin"):
        code.update(np.ascontiguousarray(clean[name]).tobytes())
    device = jax.devices()[0].device_kind
    precision = jax.config.jax_default_matmul_precision  # type: ignore
    code.update(f"{where} {jax.__version__} {device} {precision}".encode())
    code.update(_installed().encode())
    return code.hexdigest()[:16]


def digest(tree: Any) -> Any:
    """A hash of the leaves of a pytree; more may be added to it."""
    code = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(tree)):
        leaf = np.ascontiguousarray(leaf)
        code.update(f"{leaf.dtype}{leaf.shape}".encode())
        code.update(leaf.tobytes())
    return code


def parameters(model: Any) -> int | None:
    """Numbers that a network has learned; of a tuple of networks all of theirs.

    Batch statistics count only where the variables do not keep them apart. None where
    the weights are out of reach.
    """
    if isinstance(model, tuple):
        each = [parameters(one) for one in model]
        return None if None in each else sum(filter(None, each))
    variables = model.variables if isinstance(model, Classifier) else model
    if isinstance(variables, Mapping):
        variables = variables.get("params", variables)
    leaves = jax.tree.leaves(variables)
    found = [leaf for leaf in leaves if isinstance(leaf, (jax.Array, np.ndarray))]
    return sum(int(leaf.size) for leaf in found) or None


def _installed() -> str:
    """The installed version of jaxadv, or "0" in a checkout that is not installed."""
    try:
        return importlib.metadata.version("jaxadv")
    except importlib.metadata.PackageNotFoundError:
        return "0"
