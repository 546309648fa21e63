"""Errors under common corruptions: `python -m jaxadv.evaluation.corruptions RUN ...`.

Reads a folder in the layout of CIFAR-10-C: `labels.npy` and, for each corruption,
`NAME.npy`, uint8 [5 n, h, w, c], severity after severity. The n images are those of
the data set's test split in its order, unless `labels.npy` says otherwise.

    python -m jaxadv.evaluation.corruptions runs/pat --data CIFAR-10-C --output out \\
        --reference runs/alexnet

Writes `corruptions.md`, `.csv` and `.json`. With a reference network, the CIFAR
AlexNet in the papers, the error of each corruption is also given relative to its
error; the mean of these is mCE.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common
corruptions and perturbations", 2019, section 4.
"""

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxadv import checkpoints
from jaxadv.data import sources
from jaxadv.evaluation import inputs
from jaxadv.evaluation.cells import aligned, page_table, percent
from jaxadv.evaluation.judge import Judge
from jaxadv.specs import UsageError

SEVERITIES = 5
KINDS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
NAMES = tuple(name for names in KINDS.values() for name in names)


def corruption_error(errors: np.ndarray, reference: np.ndarray) -> float:
    """CE: the sum of errors [severities] over that of the reference network."""
    return float(np.sum(errors) / np.sum(reference))


def relative_corruption_error(
    errors: np.ndarray, clean: float, reference: np.ndarray, reference_clean: float
) -> float:
    """Relative CE: as `corruption_error`, of what is lost against clean images.

    NaN where the reference network loses nothing.

    Source: Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense
    against unseen threat models", 2021, appendix G.
    """
    lost = np.sum(reference - reference_clean)
    return float(np.sum(errors - clean) / lost) if lost else math.nan


def summarize(
    found: Mapping[str, Any], reference: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Errors of a network as plain JSON, with CE, mCE and their relatives.

    Args:
      found: `clean`, an error as a fraction, and `errors`, corruption -> [severities].
      reference: the same of the reference network, for the same corruptions.
    """
    rows = {}
    for name, errors in found["errors"].items():
        errors = np.asarray(errors)
        rows[name] = {"errors": errors.tolist(), "mean": float(np.mean(errors))}
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
            keys = [key for key in ("mean", "ce", "relative_ce") if key in some[0]]
            means[group] = {k: float(np.mean([r[k] for r in some])) for k in keys}
    return {"clean": found["clean"], "corruptions": rows, "means": means}


def measure(
    model: Any,
    source: Any,
    folder: str | Path,
    examples: int | None = None,
    batch_size: int = 128,
) -> dict[str, Any]:
    """`clean` and `errors` of a network; see `summarize`.

    Args:
      model: a Classifier.
      source: the clean test split; see `evaluation.suite.run`.
      folder: see the module.
      examples: the first so many images of each severity; None for all.
      batch_size: images at a time on each device.

    Raises:
      UsageError: the folder holds no corruptions, or arrays of another shape.
    """
    folder = Path(folder)
    labels = _labels(folder)
    count = min(examples or len(labels), len(labels))
    if len(source) < count:
        raise UsageError(
            f"{folder}: {count} images and {len(source)} in the clean test split; "
            "give the --data of the same data set"
        )
    names = [name for name in NAMES if (folder / f"{name}.npy").is_file()]
    if not names:
        raise UsageError(f"{folder}: none of {', '.join(NAMES)} as NAME.npy")
    judge = Judge(model, batch_size)
    ids = np.arange(count)

    def error(images):
        verdict = judge.verdict(jax.random.key(0), images, labels[:count], ids)
        return float(np.mean(verdict["margin"] >= 0))

    clean = inputs.read(source, ids)
    if not np.array_equal(clean["label"], labels[:count]):
        raise UsageError(
            f"{folder}/labels.npy are not those of the clean test split; give the "
            "--data of the same data set"
        )
    result = {"clean": error(clean["image"]), "errors": {}}
    for name in tqdm(names, "corruptions", unit="set", file=sys.stderr):
        stored = np.load(folder / f"{name}.npy", mmap_mode="r")
        if len(stored) != SEVERITIES * len(labels):
            raise UsageError(
                f"{folder}/{name}.npy has {len(stored)} images; it must have "
                f"{SEVERITIES} for each of {len(labels)} labels"
            )
        starts = range(0, len(stored), len(labels))
        result["errors"][name] = [
            error(stored[s : s + count].astype(np.float32) / np.float32(255))
            for s in starts
        ]
    return result


def _labels(folder):
    try:
        stored = np.load(folder / "labels.npy")
    except OSError:
        raise UsageError(
            f"{folder}: there is no labels.npy; give the folder of CIFAR-10-C, as "
            "published, or one in its layout"
        ) from None
    # Published once for each severity.
    repeated = len(stored) % SEVERITIES == 0 and np.array_equal(
        stored, np.tile(stored[: len(stored) // SEVERITIES], SEVERITIES)
    )
    return stored[: len(stored) // SEVERITIES] if repeated else stored


def table(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells of the report, header first; everything in percent."""
    head = ["corruption", *(str(s + 1) for s in range(SEVERITIES)), "mean"]
    scores = [k for k in ("ce", "relative_ce") if k in content["means"]["all"]]
    titles = {"ce": "CE", "relative_ce": "relative CE"}
    cells = [(*head, *(titles[k] for k in scores))]
    clean = percent(content["clean"])
    cells.append(("clean", *["-"] * SEVERITIES, clean, *["-"] * len(scores)))
    for name, row in content["corruptions"].items():
        numbers = [*row["errors"], row["mean"], *(row[k] for k in scores)]
        cells.append((name, *map(percent, numbers)))
    for group, row in content["means"].items():
        numbers = [row["mean"], *(row[k] for k in scores)]
        title = f"mean, {group}"
        cells.append((title, *["-"] * SEVERITIES, *map(percent, numbers)))
    return cells


def write(content: Mapping[str, Any], name: str, folder: str | Path) -> None:
    """Writes `corruptions.json`, `.csv` and `.md`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cells = table(content)
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(cells)
    page = [
        f"# {name} under common corruptions",
        "",
        *page_table(cells[0], cells[1:]),
        "",
        "Errors in percent at each severity. CE is the sum of a row's errors over that "
        "of the reference network, relative CE the same of errors less the clean one; "
        "their means over all corruptions are mCE and relative mCE.",
    ]
    (folder / "corruptions.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "corruptions.csv").write_text(lines.getvalue())
    (folder / "corruptions.md").write_text("\n".join(page) + "\n", encoding="utf-8")


def _of_run(run, folder, examples):
    model, config, _ = checkpoints.load_classifier(run, "best")
    source = sources.load(config.data.name, "test", config.data.data_dir)
    return measure(model, source, folder, examples)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxadv.evaluation.corruptions",
        description="Errors of a run under common corruptions, and mCE.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a training run")
    parser.add_argument("--data", required=True, metavar="DIR", help="as CIFAR-10-C")
    parser.add_argument("--reference", metavar="RUN", help="the network of mCE")
    parser.add_argument("--examples", type=int, help="of each severity; default: all")
    parser.add_argument("--output", required=True, metavar="DIR")
    flags = parser.parse_args(arguments)
    try:
        found = _of_run(flags.run, flags.data, flags.examples)
        reference = None
        if flags.reference:
            reference = _of_run(flags.reference, flags.data, flags.examples)
        content = summarize(found, reference)
        write(content, Path(flags.run).name, flags.output)
    except (UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(aligned(table(content))))
    print(Path(flags.output) / "corruptions.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
