"""Checkpoints of training runs; the one file that knows Orbax.

A run's folder holds `config.json`, `checkpoints/` (the last few, whole) and `best/`
(what the classifier needs, at the best validation score). Trees are saved as numpy
arrays, so a checkpoint knows nothing of devices. Orbax writes to a temporary name
and renames, so an unfinished checkpoint is never seen; a damaged one is told by
its checksums and passed over. Nothing is removed before a good one has been read.
"""

import errno
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from ml_collections import ConfigDict
from orbax.checkpoint.options import MultiprocessingOptions

from jaxadv import arrays, protocols, specs
from jaxadv.classifier import Classifier
from jaxadv.files import checksums, storage
from jaxadv.models import MODELS
from jaxadv.specs import UsageError

LAST, BEST, CONFIG = "checkpoints", "best", "config.json"
KEPT = 3
_OURS = ("model", "training", "meta", "_CHECKPOINT_METADATA")
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
        self._damaged: list[int] = []

    def save(self, step: int, trees: Mapping[str, Any], meta: Mapping[str, Any]):
        """Saves a whole checkpoint; it is written while training goes on."""
        self._save(self._last, step, trees, meta)

    def save_best(self, step: int, model: Any, meta: Mapping[str, Any]) -> None:
        """Replaces the best checkpoint."""
        self._save(self._best, step, {"model": model}, meta)

    def _save(self, manager, step, trees, meta):
        # One write at a time, of all kinds: the threads of two would meet the other
        # processes' in different orders. And a run that is resumed from a checkpoint
        # does not save the best one before it again.
        self.wait()
        while self._damaged:
            self._last.delete(self._damaged.pop())
        _save(manager, step, trees, meta)

    def restore(self, like: Mapping[str, Any]) -> tuple[Any, dict] | None:
        """The newest undamaged checkpoint as (trees, meta), or None for a new run.

        Damaged ones are passed over with a warning, and removed when the run that
        has been restored saves for the first time. Folders that are no checkpoints
        are left alone.

        Args:
          like: trees of the structure, shapes and types that are expected.

        Raises:
          UsageError: there are checkpoints, all of them damaged. They are kept.
        """
        folder = self.folder / LAST
        steps = sorted(self._last.all_steps(), reverse=True)
        damaged: list[int] = []
        for step in steps:
            found, problem = _restore(self._last, step, tuple(like))
            if found is not None:
                trees, meta = found
                trees = {k: _shaped(k, trees[k], v) for k, v in like.items()}
                self._damaged = damaged
                return trees, meta
            _warn(folder / str(step), problem)
            if not _is_foreign(folder / str(step)):
                damaged.append(step)
        if steps:
            raise UsageError(
                f"{folder}: all checkpoints are damaged; give another --workdir, or "
                "remove this one to start again (nothing has been removed)"
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

    Both `config.json` and the newest checkpoint are asked: either may be lost.

    Raises:
      UsageError: it holds a run with another one; the message names the fields.
    """
    path, found = folder / CONFIG, False
    if path.exists():
        try:
            _compare(folder, json.loads(path.read_text("utf-8")), config)
        except (OSError, json.JSONDecodeError, UnicodeError, AttributeError):
            raise UsageError(f"{path} is damaged; give another --workdir") from None
        found = True
    for step in _steps(folder / LAST):
        meta = _notes(folder / LAST / str(step))
        if meta is not None and "config" in meta:
            _compare(folder, meta["config"], config)
            return True
    return found


def _compare(folder, old, new):
    old, new = specs.flat(old), specs.flat(json.loads(json.dumps(new)))
    for field in sorted(old.keys() | new.keys()):
        if field not in old and new[field] is None:
            continue  # younger than the run, which did without
        if old.get(field, "absent") != new.get(field, "absent"):
            raise UsageError(
                f"config.{field} is {new.get(field, 'absent')!r} but the run in "
                f"{folder} has {old.get(field, 'absent')!r}; restore the field or "
                "give another --workdir"
            )


def _steps(folder):
    """The steps of the checkpoints in `folder`, newest first; Orbax is not asked.

    Its managers wait for the other processes, which may have nothing to ask.
    """
    names = [path.name for path in folder.glob("*") if path.name.isdecimal()]
    return sorted(map(int, names), reverse=True)


def _notes(path):
    """The notes of a checkpoint, None where they are damaged."""
    try:
        meta = json.loads((path / "meta" / "metadata").read_text("utf-8"))
        _check_notes(meta)
        return meta
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _check_notes(meta):
    """Raises ValueError for notes that were changed; older ones have no checksum."""
    sums = meta["checksums"]
    if sums.get("meta", _notes_sum(meta)) != _notes_sum(meta):
        raise ValueError("the checksum of its notes is wrong")


def _notes_sum(meta):
    return checksums.checksum_json({k: v for k, v in meta.items() if k != "checksums"})


def _is_foreign(path):
    return path.exists() and not any((path / name).exists() for name in _OURS)


class _Newest:
    """Orbax's policy of what to keep: the newest `count`, and what is not ours."""

    def __init__(self, folder, count):
        self._folder, self._count = folder, count

    def should_preserve(self, checkpoints, *, context):
        steps = [info.step for info in checkpoints]
        ours = [s for s in steps if not _is_foreign(self._folder / str(s))]
        old = set(sorted(ours)[: -self._count])
        return [step not in old for step in steps]


def _manager(folder, keep, create=True):
    options = ocp.CheckpointManagerOptions(
        preservation_policy=None if keep is None else _Newest(folder, keep),
        create=create,
        cleanup_tmp_directories=create,
        enable_async_checkpointing=create,
        # Barriers of two managers must not be taken for one another.
        multiprocessing_options=MultiprocessingOptions(
            barrier_sync_key_prefix=folder.name
        ),
    )
    return ocp.CheckpointManager(folder, options=options)


def _warn(path, problem):
    warnings.warn(
        f"checkpoint {path} is damaged and is passed over: {problem}", stacklevel=3
    )


def _save(manager, step, trees, meta):
    trees = {name: _portable(name, tree) for name, tree in trees.items()}
    _check_space(Path(manager.directory), trees)
    sums = {name: checksums.checksum(tree) for name, tree in trees.items()}
    meta = {**meta, "step": step}
    sums["meta"] = _notes_sum(meta)
    items: dict[str, Any] = {
        name: ocp.args.StandardSave(tree) for name, tree in trees.items()
    }
    items["meta"] = ocp.args.JsonSave({**meta, "checksums": sums})
    if step in manager.all_steps():
        path = manager.directory / str(step)
        if _is_foreign(path):
            raise UsageError(f"{path} is no checkpoint and is in the way; move it")
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
        _check_notes(meta)
        trees = {name: jax.tree.map(np.asarray, found[name]) for name in names}
        for name, tree in trees.items():
            if checksums.checksum(tree) != meta["checksums"][name]:
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


def _classifier(trees, meta):
    config = specs.plain(meta["config"])
    module = specs.build(
        config["model"] | {"num_classes": meta["num_classes"]}, MODELS, "config.model"
    )
    model = trees["model"]
    variables = {"params": model.get("ema", model["params"])}
    if "batch_stats" in model:
        variables["batch_stats"] = model["batch_stats"]
    named = traverse_util.flatten_dict(variables, sep="/")
    arrays.check_finite(named, f"the checkpoint of step {meta['step']}")
    classifier = Classifier.from_linen(
        module,
        variables,
        config["normalize"]["mean"],
        config["normalize"]["std"],
        rngs=protocols.random_streams(module),
    )
    info = {**meta, "image_shape": tuple(meta["image_shape"])}
    return classifier, ConfigDict(config), info
