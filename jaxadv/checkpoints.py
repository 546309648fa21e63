"""Checkpoints of training runs; the one file that knows Orbax.

A run's folder holds `config.json`, `checkpoints/` (the last few, whole) and `best/`
(what the classifier needs, at the best validation score). Trees are saved as numpy
arrays, so a checkpoint knows nothing of devices. Orbax writes to a temporary name
and renames, so an unfinished checkpoint is never seen; a damaged one is told by
its checksum and passed over.
"""

import errno
import json
import os
import shutil
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from jaxadv import specs, storage
from jaxadv.classifier import Classifier
from jaxadv.models import MODELS
from jaxadv.specs import UsageError

LAST, BEST, CONFIG = "checkpoints", "best", "config.json"
KEPT = 3
_BESIDE = 1 << 20  # bytes that a checkpoint takes beside its numbers, and some to spare


class Checkpoints:
    """The checkpoints of the run in `folder`; all processes call all methods.

    What is saved is a dict of two trees: "model" (params, batch_stats, ema) makes
    the classifier, "training" is the rest that the next step needs.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).absolute()
        self._last = _manager(self.folder / LAST, KEPT)
        self._best = _manager(self.folder / BEST, 1)

    def save(self, step: int, trees: Mapping[str, Any], meta: Mapping[str, Any]):
        """Saves a whole checkpoint; it is written while training goes on."""
        # A run that is resumed from here will not save this best one again.
        self._best.wait_until_finished()
        _save(self._last, step, trees, meta)

    def save_best(self, step: int, model: Any, meta: Mapping[str, Any]) -> None:
        """Replaces the best checkpoint."""
        _save(self._best, step, {"model": model}, meta)

    def restore(self, like: Mapping[str, Any]) -> tuple[Any, dict] | None:
        """The newest undamaged checkpoint as (trees, meta), or None for a new run.

        Damaged ones are passed over with a warning and removed.

        Args:
          like: trees of the structure, shapes and types that are expected.

        Raises:
          UsageError: there are checkpoints, all of them damaged.
        """
        steps = sorted(self._last.all_steps(), reverse=True)
        for step in steps:
            found, problem = _restore(self._last, step, tuple(like))
            if found is not None:
                trees, meta = found
                return {k: _shaped(k, trees[k], v) for k, v in like.items()}, meta
            _warn(self.folder / LAST / str(step), problem)
            self._last.delete(step)
        if steps:
            raise UsageError(
                f"{self.folder / LAST}: all checkpoints are damaged; give another "
                "--workdir, or remove this one to start again"
            )
        return None

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._last.wait_until_finished()
        self._best.wait_until_finished()

    def close(self) -> None:
        """Waits and releases."""
        self.wait()
        self._last.close()
        self._best.close()


def load_classifier(
    path: str | os.PathLike, which: str = "best"
) -> tuple[Classifier, ConfigDict, dict[str, Any]]:
    """The classifier that a training run has made.

    Args:
      path: the run's folder.
      which: "best", by validation score, or "last".

    Returns:
      The classifier (with averaged weights, if the run has them), the run's
      config, and the checkpoint's notes: `step`, `epoch`, `num_classes`,
      `image_shape`, `score` and others.

    Raises:
      UsageError: `path` is no run's folder, or has no readable checkpoint.
    """
    folders = {"best": BEST, "last": LAST}
    if which not in folders:
        raise UsageError(f"checkpoint {which!r}: allowed: 'best', 'last'")
    folder = Path(path).absolute() / folders[which]
    problem = "no checkpoint here"
    if folder.is_dir():
        with _manager(folder, None, create=False) as manager:
            for step in sorted(manager.all_steps(), reverse=True):
                found, problem = _restore(manager, step, ("model",))
                if found is not None:
                    return _classifier(*found)
                _warn(folder / str(step), problem)
    raise UsageError(
        f"{path}: {problem}; expected the --workdir of a training run, with "
        f"finished checkpoints in {folders[which]}/"
    )


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Makes a run's folder and keeps its config there, whole or not at all.

    Raises:
      UsageError: the folder cannot be written.
    """
    try:
        with storage.replacing(folder / CONFIG) as temporary:
            temporary.write_text(json.dumps(config, indent=1), "utf-8")
    except OSError as error:
        raise UsageError(
            f"--workdir: {folder} cannot be written: {error.strerror}"
        ) from None


def check_config(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether `folder` holds a run with this config; False for no run.

    Raises:
      UsageError: it holds a run with another one; the message names the fields.
    """
    path = folder / CONFIG
    if not path.exists():
        return False
    try:
        old = specs.flat(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, AttributeError):
        raise UsageError(f"{path} is damaged; give another --workdir") from None
    new = specs.flat(json.loads(json.dumps(config)))
    for field in sorted(old.keys() | new.keys()):
        if old.get(field, "absent") != new.get(field, "absent"):
            raise UsageError(
                f"config.{field} is {new.get(field, 'absent')!r} but the run in "
                f"{folder} has {old.get(field, 'absent')!r}; restore the field or "
                "give another --workdir"
            )
    return True


def _manager(folder, keep, create=True):
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=create,
        cleanup_tmp_directories=create,
        enable_async_checkpointing=create,
    )
    return ocp.CheckpointManager(folder, options=options)


def _warn(path, problem):
    warnings.warn(
        f"checkpoint {path} is damaged and is passed over: {problem}", stacklevel=3
    )


def _save(manager, step, trees, meta):
    trees = {name: _portable(name, tree) for name, tree in trees.items()}
    _check_space(Path(manager.directory), trees)
    sums = {name: _checksum(tree) for name, tree in trees.items()}
    items: dict[str, Any] = {
        name: ocp.args.StandardSave(tree) for name, tree in trees.items()
    }
    items["meta"] = ocp.args.JsonSave({**meta, "step": step, "checksums": sums})
    if step in manager.all_steps():
        manager.delete(step)
    manager.save(step, args=ocp.args.Composite(**items), force=True)


def _check_space(folder, trees):
    """Raises OSError where the disk would be full before all is written.

    Orbax finds out in its own threads, and leaves what they have written.
    """
    need = sum(leaf.nbytes for leaf in jax.tree.leaves(trees)) + _BESIDE
    free = shutil.disk_usage(folder).free
    if free < need:
        full = os.strerror(errno.ENOSPC)
        sizes = f"a checkpoint takes {need >> 20} MiB, {free >> 20} MiB are free"
        raise OSError(errno.ENOSPC, f"{full}: {sizes}", str(folder))


def _restore(manager, step, names):
    """((trees by name, meta), "") or (None, what is wrong)."""
    items: dict[str, Any] = {name: ocp.args.StandardRestore() for name in names}
    items["meta"] = ocp.args.JsonRestore()
    try:
        found = manager.restore(step, args=ocp.args.Composite(**items))
        meta = dict(found["meta"])
        trees = {name: jax.tree.map(np.asarray, found[name]) for name in names}
        for name, tree in trees.items():
            if _checksum(tree) != meta["checksums"][name]:
                raise ValueError("its checksum is wrong")
    except Exception as error:  # each of Orbax's layers raises its own kinds
        return None, f"{type(error).__name__}: {(str(error) or '-').splitlines()[0]}"
    return (trees, meta), ""


def _portable(name, tree):
    """Nested dicts of numpy arrays: a model's own, or the leaves by number.

    On CPU they may be views of buffers that the next training step overwrites;
    Orbax copies them before it returns.
    """
    tree = jax.tree.map(np.asarray, jax.device_get(tree))
    if name == "model":
        return {key: value for key, value in tree.items() if jax.tree.leaves(value)}
    return {f"{i:05}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def _shaped(name, saved, like):
    """What `_portable` made of a tree like `like`, as such a tree."""
    if name == "model":
        saved = {key: saved.get(key, value) for key, value in like.items()}
    treedef = jax.tree.structure(like)
    return jax.tree.unflatten(treedef, jax.tree.leaves(saved))


def _checksum(tree) -> int:
    total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        header = f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}"
        total = zlib.crc32(header.encode(), total)
        total = zlib.crc32(leaf.tobytes(), total)
    return total


def _classifier(trees, meta):
    config = specs.plain(meta["config"])
    module = specs.build(
        config["model"] | {"num_classes": meta["num_classes"]}, MODELS, "config.model"
    )
    model = trees["model"]
    variables = {"params": model.get("ema", model["params"])}
    if "batch_stats" in model:
        variables["batch_stats"] = model["batch_stats"]
    classifier = Classifier.from_linen(
        module,
        variables,
        config["normalize"]["mean"],
        config["normalize"]["std"],
        rngs=getattr(module, "eval_rngs", ()),
    )
    info = {**meta, "image_shape": tuple(meta["image_shape"])}
    return classifier, ConfigDict(config), info
