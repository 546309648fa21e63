"""Metrics to Weights & Biases; the one file that knows wandb, which is an extra."""

import importlib
import importlib.util
import json
import os
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxadv.files import storage
from jaxadv.specs import UsageError

FILE = "wandb.json"  # project -> the id of this run there
STEP = "step"


def check() -> None:
    """Raises UsageError unless wandb is installed; it is not imported."""
    if "wandb" in sys.modules:
        there = sys.modules["wandb"] is not None
    else:
        spec = importlib.util.find_spec("wandb")
        # wandb itself makes folders of that name, which look like a package.
        there = spec is not None and spec.origin is not None
    if not there:
        raise UsageError(
            "config.log.wandb needs the package wandb: pip install "
            '"jaxadv[wandb]", or leave the field out'
        )


class Writer:
    """Sends metrics to a run of a project; a run that is resumed is the same one there.

    Attributes:
      project: of wandb.
      folder: the run's folder; wandb writes below it too.
      config: of the training, shown beside the run.
    """

    def __init__(
        self, project: str, folder: str | os.PathLike, config: Mapping[str, Any]
    ):
        check()
        wandb: Any = importlib.import_module("wandb")
        folder = Path(folder)
        try:
            self._run = wandb.init(
                project=project,
                id=_identity(folder / FILE, project),
                resume="allow",
                name=folder.resolve().name,
                dir=str(folder),
                config=dict(config),
            )
            # A resumed training takes some steps again, which wandb's own count, that
            # only grows, would drop.
            self._run.define_metric("*", step_metric=STEP)
        except wandb.Error as error:
            raise UsageError(
                f"config.log.wandb: wandb says {str(error)!r}; see `wandb login`, or "
                "set WANDB_MODE=offline"
            ) from None

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Adds the numbers of a step, as `kind/name`, drawn against the step."""
        numbers = {
            f"{kind}/{name}": value
            for name, value in values.items()
            if isinstance(value, (int, float))
        }
        self._run.log({STEP: step, **numbers})

    def close(self) -> None:
        """Waits until all is sent."""
        self._run.finish()


def _identity(path, project):
    """The run's id in a project: that of an earlier start, or a new one."""
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        known = {}
    except (OSError, ValueError, RecursionError):
        known = None
    if not isinstance(known, dict) or not isinstance(known.get(project, ""), str):
        raise UsageError(f"{path} is damaged; remove it, for a new run at wandb")
    if project not in known:
        known[project] = uuid.uuid4().hex[:12]
        with storage.replacing(path) as temporary:
            temporary.write_text(json.dumps(known), "utf-8")
    return known[project]
