"""Weights that a run begins from: those of another run, or of a file."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from jaxadv import checkpoints, protocols, weights
from jaxadv.defenses.base import Network
from jaxadv.files import checksums, storage
from jaxadv.specs import UsageError
from jaxadv.training import settings

_FIELD = "config.init_from"
_NAMED = 3  # layers that an error names


@dataclasses.dataclass(frozen=True)
class Initial:
    """Weights and running statistics to begin from.

    Attributes:
      known: path -> array, of all that is taken over.
      record: what they are, for the notes of checkpoints: `path`, `checksum`, `step`
        and `new`, the layers that are not among them.
      lines: what a user is told of them.
    """

    known: dict[str, np.ndarray]
    record: dict[str, Any]
    lines: tuple[str, ...]

    def onto(self, params: Any, batch_stats: Any) -> tuple[Any, Any]:
        """Fresh (params, batch_stats) with all that is known in its place."""
        flat = _flat(params, batch_stats)
        flat |= {k: np.asarray(v, flat[k].dtype) for k, v in self.known.items()}
        tree = traverse_util.unflatten_dict(flat, sep="/")
        return tree["params"], tree.get("batch_stats", batch_stats)


def load(
    config: settings.Config,
    network: Network,
    classes: int,
    image_shape: tuple[int, ...],
) -> Initial:
    """What `config.init_from` names, for the network of a run.

    Of a run they are those that its best checkpoint is judged by. The head is new where
    the number of classes is another one, and so are the modules of `config.init_new`. A
    random network takes the weights of one without noise as those of the network inside
    it, and begins with noise of its own.

    Args:
      config: of the run.
      network: which begins from the weights.
      classes: of it.
      image_shape: [h, w, c] of its images.

    Raises:
      UsageError: there is no such run or file, it is damaged, or a layer does not fit.
    """
    path, name = config.init_from, config.model.name
    noise = protocols.learns_noise(network.module)
    arch = config.model.network.name if noise else name
    try:
        found, mean, std, step = _read(Path(path), arch)
    except UsageError as error:
        raise UsageError(f"{_FIELD}: {error}") from None
    plain = bool(noise) and not any(p.startswith(f"params/{noise}/") for p in found)
    if plain:
        found = {_inside(p): value for p, value in found.items()}
    other = Network(settings.network(config, classes + 1))
    wanted, more = (_shapes(n, image_shape) for n in (network, other))
    head = {
        layer: next(i for i, size in enumerate(shape) if size != more[layer][i])
        for layer, shape in wanted.items()
        if shape != more[layer]
    }
    modules = tuple(config.init_new or ())
    asked = _asked((*modules, noise) if plain else modules, wanted)
    found = {p: value for p, value in found.items() if p not in asked}
    kept = {p: shape for p, shape in wanted.items() if p not in asked}
    head = {p: axis for p, axis in head.items() if p not in asked}
    _check(found, kept, head, f"{path} does not fit config.model ({name!r})")
    new = sorted(head) if any(found[p].shape != wanted[p] for p in head) else []
    layers = sorted({p.removeprefix("params/").rpartition("/")[0] for p in new})
    total = checksums.checksum(found)
    about = "" if step is None else f"step {step}, "
    lines = [f"begins with the weights of {path} ({about}checksum {total:08x})"]
    if new:
        theirs = found[new[0]].shape[head[new[0]]]
        lines.append(
            f"{theirs} classes there, {classes} here: the head ({', '.join(layers)}) "
            "is new"
        )
    if modules:
        lines.append(f"new as config.init_new says: {', '.join(modules)}")
    if plain:
        lines.append(f"there is no noise there: that of {name} ({noise}) is new")
    lines += _other_pixels(network, mean, std)
    known = {path: value for path, value in found.items() if path not in new}
    layers = sorted({*layers, *modules, *([noise] if plain else [])})
    record = {"path": path, "step": step, "checksum": total, "new": layers}
    return Initial(known, record, tuple(lines))


def _inside(path):
    """Where a random network has a variable of the network inside it."""
    collection, _, rest = path.partition("/")
    return f"{collection}/{protocols.INSIDE}/{rest}"


def _asked(modules, wanted) -> set[str]:
    """The paths of the variables in some modules of the network."""
    paths = {p: p.partition("/")[2] for p in wanted}
    for module in modules:
        if not any(inside.startswith(f"{module}/") for inside in paths.values()):
            known = ", ".join(dict.fromkeys(i.split("/")[0] for i in paths.values()))
            raise UsageError(
                f"config.init_new: the network has no module {module!r}; modules: "
                f"{known}"
            )
    starts = tuple(f"{module}/" for module in modules)
    return {p for p, inside in paths.items() if inside.startswith(starts)}


def _read(path, name):
    """Flat variables, mean, std, and the step of a run's checkpoint or None."""
    if path.is_dir():
        model, _, info = checkpoints.load_classifier(path)
        found, mean, std = model.variables, model.mean, model.std
        step = info["step"]
    else:
        storage.check_file(path)
        _, found, known = weights.read_content(path, name)
        # Of a file that does not tell them nothing can be compared.
        mean, std = known or (None, None)
        step = None
    flat = traverse_util.flatten_dict(jax.device_get(found), sep="/")
    return {k: np.asarray(v) for k, v in flat.items()}, mean, std, step


def _shapes(network, image_shape) -> dict[str, tuple[int, ...]]:
    """Path -> shape of a network's variables; computes nothing."""
    made = jax.eval_shape(lambda: network.init(jax.random.key(0), image_shape))
    return {path: leaf.shape for path, leaf in _flat(*made).items()}


def _flat(params, batch_stats) -> dict[str, Any]:
    tree = {"params": params, "batch_stats": batch_stats}
    return traverse_util.flatten_dict(tree, sep="/")


def _check(found, wanted, head, problem):
    """Raises UsageError, with the first layers, where arrays do not fit.

    Those of `head` may have another size on the axis of the classes.
    """
    wrong = []
    for path in sorted(found.keys() | wanted.keys()):
        if path not in found:
            wrong.append(f"{path} is missing there")
        elif path not in wanted:
            wrong.append(f"{path} is none of its arrays")
        elif _but(found[path].shape, head.get(path)) != _but(
            wanted[path], head.get(path)
        ):
            there, here = (_size(s) for s in (found[path].shape, wanted[path]))
            wrong.append(f"{path} is {there} there, {here} here")
    if wrong:
        more = len(wrong) - _NAMED
        rest = f" and {more} more" if more > 0 else ""
        raise UsageError(f"{_FIELD}: {problem}: {', '.join(wrong[:_NAMED])}{rest}")


def _but(shape, axis) -> tuple[int, ...]:
    """A shape without the size of one axis."""
    return tuple(-1 if i == axis else size for i, size in enumerate(shape))


def _size(shape) -> str:
    return " x ".join(map(str, shape)) or "a scalar"


def _other_pixels(network, mean, std) -> list[str]:
    """A warning, if the weights were trained on pixels of other statistics."""
    pairs = (("mean", network.mean, mean), ("std", network.std, std))
    wrong = [
        f"config.normalize.{name} is {tuple(own)}, there {tuple(map(float, theirs))}"
        for name, own, theirs in pairs
        if theirs is not None
        and not np.allclose(np.asarray(own), np.asarray(theirs), atol=1e-6)
    ]
    return [f"WARNING: {'; '.join(wrong)}"] if wrong else []
