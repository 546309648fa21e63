"""Errors under common corruptions, and mCE: a config with a field `corruptions`.

    python eval.py --config=configs/suites/corruptions.py --checkpoint=runs/pat \\
        --config.corruptions.folder=CIFAR-10-C

Writes `corruptions.md`, `.csv` and `.json`; what a killed run has measured is kept in
`corruptions.jsonl`. With a reference network, the CIFAR AlexNet in the papers, the
error of each corruption is also given relative to its error; the mean of these is mCE.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common
corruptions and perturbations", 2019, section 4.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxadv import checkpoints, parallel, schema, weights
from jaxadv.classifier import Classifier
from jaxadv.evaluation import metrics
from jaxadv.evaluation.corruptions.sets import (
    KINDS,
    SEVERITIES,
    Arrays,
    Trees,
    open_folder,
)
from jaxadv.evaluation.judging import inputs
from jaxadv.evaluation.judging.judge import Judge
from jaxadv.evaluation.run.meters import Stopwatch
from jaxadv.evaluation.suite.declared import Data
from jaxadv.evaluation.suite.planned import check_name
from jaxadv.evaluation.writing import escape, files
from jaxadv.evaluation.writing.cells import aligned, page_table, percent
from jaxadv.files import storage
from jaxadv.files.checksums import checksum_json
from jaxadv.files.storage import remove_temporary
from jaxadv.specs import UsageError, static


@dataclasses.dataclass(frozen=True)
class Sets:
    """Which images, and whose errors stand beside."""

    folder: str | None = static(None, help="of the stored sets, as CIFAR-10-C")
    reference: str | None = static(
        None,
        help="folder of a run, or a weight file, by whose errors ours are divided",
    )
    architecture: str | None = static(
        None, help="of a weight file that does not say its own (see jaxadv.weights)"
    )


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a config that measures errors under corruptions."""

    name: str = static("corruptions", help="of the output folder")
    corruptions: Sets = schema.group(Sets, "the stored sets and the reference")
    data: Data = schema.group(Data, "the data set; None: the checkpoint's")
    split: str = static("test", help="of the clean images")
    examples: int | None = static(
        None,
        minimum=0,
        help="how many images of each severity, evenly over them; 0 or None: all",
    )
    batch_size: int = static(128, minimum=1, help="images at a time on each device")


_BLOCK = 1000  # images in memory at a time


def resolve(
    given: Mapping[str, Any], training: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The config with its defaults filled in; nothing of it is the training's.

    Raises:
      UsageError: an unknown field, a bad number, or no folder.
    """
    full = schema.fill(Fields, given)
    schema.check(Fields, full, "config")
    check_name(full["name"], "config.name")
    if not full["corruptions"]["folder"]:
        raise UsageError(
            "config.corruptions.folder is not given; give the folder of CIFAR-10-C or "
            "ImageNet-C: --config.corruptions.folder=DIR"
        )
    return full


def evaluate(
    model: Any,
    source: Any,
    config: Mapping[str, Any],
    workdir: str | Path,
    *,
    name: str,
    show: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measures a network, and the reference if there is one; writes the tables.

    Args:
      model: a Classifier.
      source: the clean split; see `evaluation.suite.run`.
      config: see the module.
      workdir: gets what is written; the same call goes on after a kill.
      name: of the network, for the title.
      show: prints the table.

    Returns:
      `summarize` of what was found.

    Raises:
      UsageError: a bad config, a workdir in use, sets that do not fit the clean
        split or the network, or logits that are not numbers.
    """
    full, workdir = resolve(config), Path(workdir)
    parts = full["corruptions"]
    stored = open_folder(parts["folder"], source.class_names)
    other = load_reference(parts["reference"], parts["architecture"])
    kept = workdir / "corruptions.jsonl"

    def measured(network):
        rest = full["examples"], full["batch_size"], kept
        with Stopwatch("corruptions"):
            return measure(network, source, stored, *rest)

    with parallel.held(workdir):
        found = measured(model)
        content = summarize(found, None if other is None else measured(other))
        if parallel.is_primary():
            remove_temporary(workdir)
            write(content, name, workdir)
    if parallel.is_primary():
        show("\n".join(aligned(table(content))))
        show(f"page: {workdir / 'corruptions.md'}")
    return content


def load_reference(path: str | None, architecture: str | None) -> Classifier | None:
    """The network in a training run's folder or in a weight file; None without one.

    Raises:
      UsageError: there is none, or the file does not hold it.
    """
    if not path:
        return None
    if Path(path).suffix in weights.ENDINGS:
        found = weights.load(path, architecture, assumed=True)
        return Classifier.from_linen(*found)
    return checkpoints.load_classifier(path, "best")[0]


def corruption_error(errors: np.ndarray, reference: np.ndarray) -> float | None:
    """CE: the sum of errors [severities] over that of the reference network.

    None where the reference network makes no error.
    """
    total = np.sum(reference)
    return float(np.sum(errors) / total) if total else None


def relative_corruption_error(
    errors: np.ndarray, clean: float, reference: np.ndarray, reference_clean: float
) -> float | None:
    """Relative CE: as `corruption_error`, of what is lost against clean images.

    None where the reference network loses nothing.

    Source: Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense
    against unseen threat models", 2021, appendix G.
    """
    lost = np.sum(reference - reference_clean)
    return float(np.sum(errors - clean) / lost) if lost else None


def summarize(
    found: Mapping[str, Any], reference: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Errors of a network as plain JSON, with CE, mCE and their relatives.

    Each mean has `n` and the ends of its Wilson 95 % interval, `low` and `high`. The
    sets are of the same n images, so that a mean over sets is known at least as well
    as one error of n images: its interval is that of one, and may be too wide.

    Args:
      found: `n` images of each set, `clean`, an error as a fraction, and `errors`,
        corruption -> [severities].
      reference: `clean` and `errors` of the reference network, for the same
        corruptions.

    Raises:
      UsageError: the reference lacks one of them.
    """
    n, rows = found["n"], {}
    lacking = found["errors"].keys() - (reference or found)["errors"].keys()
    if lacking:
        raise UsageError(
            f"the reference has no errors of {', '.join(sorted(lacking))}; measure it "
            "on the same sets, or leave these out of both"
        )
    for name, errors in found["errors"].items():
        errors = np.asarray(errors)
        rows[name] = {"errors": errors.tolist(), **_share(errors, n)}
        if reference is not None:
            theirs = np.asarray(reference["errors"][name])
            rows[name]["ce"] = corruption_error(errors, theirs)
            rows[name]["relative_ce"] = relative_corruption_error(
                errors, found["clean"], theirs, reference["clean"]
            )
    groups = {"all": tuple(rows), **KINDS}
    means = {}
    for group, names in groups.items():
        some = [rows[name] for name in names if name in rows]
        if some:
            means[group] = _share([row["mean"] for row in some], n)
            keys = [key for key in ("ce", "relative_ce") if key in some[0]]
            means[group] |= {key: _mean([r[key] for r in some]) for key in keys}
    clean = _share([found["clean"]], n)
    return {"clean": clean, "corruptions": rows, "means": means}


def _share(errors, n):
    mean = float(np.mean(errors))
    low, high = metrics.wilson(mean * n, n)
    return {"mean": mean, "n": n, "low": low, "high": high}


def _mean(values):
    """None where a value is missing: a mean over fewer would not compare."""
    return None if None in values else float(np.mean(values))


def measure(
    model: Any,
    source: Any,
    stored: Arrays | Trees,
    examples: int | None = None,
    batch_size: int = 128,
    kept: Path | None = None,
) -> dict[str, Any]:
    """`n`, `clean` and `errors` of a network; see `summarize`.

    Args:
      model: a Classifier.
      source: the clean split.
      stored: the corrupted sets.
      examples: how many images of each severity, evenly over them; None or 0: all.
      batch_size: images at a time on each device.
      kept: a file that gets a line for each finished set; sets that it has for the
        same network and images are not measured again.

    Raises:
      UsageError: sets that do not fit the clean split or the network, or logits
        that are not numbers.
    """
    total = len(stored.labels)
    count = min(examples or total, total)
    rows = np.linspace(0, total - 1, count).astype(int)
    blocks = np.array_split(rows, -(-count // _BLOCK))
    judge = Judge(model, batch_size)

    def error(read, title):
        """Of [images, labels] as `read` gives them for a block of rows."""
        wrong = 0
        for block in blocks:
            images, labels = read(block)
            verdict = judge.verdict(jax.random.key(0), images, labels, block)
            inputs.refuse_nan(block, verdict["nan"], title)
            wrong += np.sum(~(verdict["margin"] < 0))
        return float(wrong / count)

    @functools.cache  # tracing a large network takes time
    def classes(shape):
        return inputs.check_fit(model, {"image": np.empty((0, *shape))})

    def clean(block):
        found = stored.clean(source, block)
        inputs.check_values(found, classes(found["image"].shape[1:]))
        return found["image"], found["label"]

    def corrupted(block, name, severity):
        images = stored.read(name, severity, block).astype(np.float32)
        classes(images.shape[1:])
        return images / np.float32(255), stored.labels[block]

    result = {"n": count, "clean": error(clean, "clean images"), "errors": {}}
    network = inputs.digest(model).hexdigest()[:16]
    done = _Kept(kept, f"{network} {stored.folder} {count}")
    for name in tqdm(stored.names, "corruptions", unit="set", file=sys.stderr):
        # All processes or none: judging a set, they wait for each other.
        if not np.all(parallel.gather_rows(np.array([name in done.errors]))):
            errors = [
                error(
                    functools.partial(corrupted, name=name, severity=severity),
                    f"images of {name} at severity {severity}",
                )
                for severity in range(1, SEVERITIES + 1)
            ]
            done.add(name, errors)
        result["errors"][name] = done.errors[name]
    return result


class _Kept:
    """Errors by corruption of one network, in a file that others may share."""

    def __init__(self, path, run):
        self._path, self._run, self.errors = path, run, {}
        if path is not None and path.is_file():
            for line in path.read_text("utf-8", "replace").splitlines():
                entry = _entry(line)
                if entry is not None and entry["run"] == run:
                    self.errors[entry["set"]] = entry["errors"]

    def add(self, name, errors):
        self.errors[name] = errors
        if self._path is not None and parallel.is_primary():
            with storage.naming(self._path), self._path.open("a") as file:
                entry = {"run": self._run, "set": name, "errors": errors}
                entry["checksum"] = checksum_json(entry)
                # A line of its own, also behind one that a kill has cut short.
                file.write("\n" * _is_cut(self._path) + json.dumps(entry) + "\n")


def _is_cut(path):
    text = path.read_bytes()
    return bool(text) and not text.endswith(b"\n")


def _entry(line):
    """What a line holds; None where it was cut short, changed, or is another's."""
    try:
        entry = json.loads(line)
        total = entry.pop("checksum", None)  # older lines have none
        if total not in (None, checksum_json(entry)):
            return None
        return entry if {"run", "set", "errors"} <= set(entry) else None
    except (ValueError, AttributeError, TypeError):
        return None


def table(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells of the report, header first; everything in percent."""
    severities = [str(s + 1) for s in range(SEVERITIES)]
    head = ["corruption", *severities, "mean", "n", "95 % interval"]
    scores = [k for k in ("ce", "relative_ce") if k in content["means"]["all"]]
    titles = {"ce": "CE", "relative_ce": "relative CE"}
    cells = [(*head, *(titles[k] for k in scores))]
    rows = {"clean": content["clean"], **content["corruptions"]}
    rows |= {f"mean, {group}": row for group, row in content["means"].items()}
    for title, row in rows.items():
        errors = row.get("errors", [None] * SEVERITIES)
        interval = f"{percent(row['low'])} - {percent(row['high'])}"
        mean = _cell(row["mean"]), str(row["n"]), interval
        more = [_cell(row.get(k)) for k in scores]
        cells.append((title, *map(_cell, errors), *mean, *more))
    return cells


def _cell(value):
    return "-" if value is None else percent(value)


def write(content: Mapping[str, Any], name: str, folder: str | Path) -> None:
    """Writes `corruptions.json`, `.csv` and `.md`."""
    folder, cells = Path(folder), table(content)
    page = [
        f"# {escape.markdown(name)} under common corruptions",
        "",
        *page_table(cells[0], cells[1:]),
        "",
        "Errors in percent at each severity, with n images and the Wilson 95 % "
        "interval of one error of so many images: of a mean over sets of the same "
        "images it may be too wide. CE is the sum of a row's errors over that "
        "of the reference network, relative CE the same of errors less the clean one; "
        "their means over all corruptions are mCE and relative mCE.",
    ]
    files.write_json(folder / "corruptions.json", content)
    files.write_csv(folder / "corruptions.csv", cells)
    files.write(folder / "corruptions.md", "\n".join(page) + "\n")
