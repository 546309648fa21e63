"""The per-example table: one row an image, from which every number is computed.

Columns are arrays of one length, named by a path:

  id                          position of the image in its split
  label                       its class
  clean/prediction            class predicted on the unattacked image
  clean/margin                largest other logit minus the label's; < 0 is correct
  clean/draws_right           of the draws of a random network, where the suite takes
                              several, how many alone predict the label
  attack/<label>/success      whether a verified adversarial image was found
  attack/<label>/prediction   class predicted on the returned image
  attack/<label>/margin       as `clean/margin`, on the returned image
  attack/<label>/size         size of the perturbation, in the threat's unit
  attack/<label>/steps        attack steps taken, over all restarts
  attack/<label>/feasible     whether the returned image is finite, in [0, 1] and
                              within the budget
  attack/<label>/draws_right  as `clean/draws_right`, on the returned image
  attack/<label>/distance/<name>  float32 distance of the returned image from its
                              original, for each distance of the suite
  clean/foreground            float32 foreground score of the unattacked image, where
                              the suite has a saliency network
  attack/<label>/foreground   that of the returned image
  curve/<label>/eps           smallest eps of the curve that breaks the image: 0
                              where the clean image is wrong, inf where none does,
                              NaN where the curve did not look

An image that is wrong before the attack has success True, 0 as its size, steps and
distances, and the draws_right of the clean image. In a cascade an image that an earlier
attack has broken keeps that attack's values, with 0 steps.
"""

import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxadv.files import checksums, storage
from jaxadv.specs import UsageError

_SUM = "checksum"  # a column's name has a slash, or is id or label
FIELDS = ("success", "prediction", "margin", "size", "steps", "feasible", "draws_right")


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns [n] by name, see the module; and what was evaluated, as plain JSON.

    Attributes:
      columns: name -> array [n].
      metadata: `attacks` (label -> {"spec", "eps", of those without a gradient
        "queries", those of a step, and where a random network is judged by several
        draws "eot", over how many each step averages, 0 for no noise}), `curves`
        (label -> {"eps", "spec"}), `unions` (name -> labels), `seen` (labels), and what
        else the evaluation notes.
    """

    columns: dict[str, np.ndarray]
    metadata: dict[str, Any]

    def __len__(self) -> int:
        return len(self.columns["id"])

    @property
    def attacks(self) -> list[str]:
        """The labels of the attacks, in the order in which they ran."""
        return list(self.metadata.get("attacks", {}))

    def attack(self, label: str, field: str) -> np.ndarray:
        """The column [n] of one attack; `field` is one of `FIELDS` or `distance/…`.

        Raises:
          UsageError: the table has no such attack.
        """
        name = f"attack/{label}/{field}"
        if name not in self.columns:
            known = ", ".join(self.attacks) or "none"
            raise UsageError(f"table: no column {name!r}; attacks: {known}")
        return self.columns[name]

    def distances(self, label: str) -> dict[str, np.ndarray]:
        """Name -> column [n] of every distance of one attack's images."""
        prefix = f"attack/{label}/distance/"
        return {
            name.removeprefix(prefix): column
            for name, column in self.columns.items()
            if name.startswith(prefix)
        }


def threat_name(spec: Mapping[str, Any]) -> str:
    """The registry name of an attack spec's threat; empty where there is none."""
    threat = spec.get("threat") or ""
    return threat if isinstance(threat, str) else threat.get("name", "")


def save(table: Table, path: str | os.PathLike) -> None:
    """Writes the table to `path` (.npz) whole or not at all; equal tables give
    equal bytes."""
    arrays = {"metadata": np.array(json.dumps(table.metadata)), **table.columns}
    total = np.uint32(checksums.checksum(arrays))
    with storage.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays, **{_SUM: total})  # type: ignore


def load(path: str | os.PathLike) -> Table:
    """Reads what `save` wrote.

    Raises:
      UsageError: there is no such file, or it holds no table.
    """
    try:
        # NumPy leaves a damaged file open that it has opened itself.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in stored.files}
        total = columns.pop(_SUM, None)  # older tables have none
        if total is not None and int(total) != checksums.checksum(columns):
            raise ValueError("its checksum is wrong")
        metadata = json.loads(str(columns.pop("metadata")))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else "damaged"
        raise UsageError(f"{path}: no per-example table ({reason})") from None
    return Table(columns, metadata)


def merge(tables: Sequence[Table]) -> Table:
    """One table, sorted by id, of parts that share columns or share examples.

    Parts with distinct ids are stacked and need equal columns. Parts with the same
    ids are joined: their attacks are put side by side, and columns that both have
    must agree.

    Raises:
      UsageError: the ids overlap in part, or the columns do not fit.
    """
    merged = _sorted(tables[0])
    for table in tables[1:]:
        merged = _pair(merged, _sorted(table))
    return merged


def _pair(a: Table, b: Table) -> Table:
    shared = np.intersect1d(a.columns["id"], b.columns["id"])
    if len(shared) == 0:
        return _sorted(_stack(a, b))
    if len(shared) == len(a) == len(b):
        return _join(a, b)
    raise UsageError(
        f"tables: {len(shared)} ids are in both of two parts of {len(a)} and "
        f"{len(b)} examples; give parts with the same ids or with distinct ones"
    )


def _stack(a, b):
    if set(a.columns) != set(b.columns):
        differing = sorted(set(a.columns) ^ set(b.columns))
        raise UsageError(f"tables: parts of different columns: {', '.join(differing)}")
    columns = {k: np.concatenate([v, b.columns[k]]) for k, v in a.columns.items()}
    return Table(columns, a.metadata)


def _join(a, b):
    for name in set(a.columns) & set(b.columns):
        if not np.array_equal(a.columns[name], b.columns[name], equal_nan=True):
            raise UsageError(f"tables: the parts disagree in column {name!r}")
    metadata = {**b.metadata, **a.metadata}
    for key in ("attacks", "curves", "unions", "distances"):
        metadata[key] = {**a.metadata.get(key, {}), **b.metadata.get(key, {})}
    seen = [*a.metadata.get("seen", ()), *b.metadata.get("seen", ())]
    metadata["seen"] = list(dict.fromkeys(seen))
    return Table({**a.columns, **b.columns}, metadata)


def _sorted(table):
    order = np.argsort(table.columns["id"], kind="stable")
    return Table({k: v[order] for k, v in table.columns.items()}, table.metadata)
