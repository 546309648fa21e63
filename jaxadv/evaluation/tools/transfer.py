"""What adversarial images of one network do to others.

Reads folders of evaluations that have stored their images (`eval.py --save_images`),
looks at the images of each source with the network of each target, and writes
`transfer.md`, `.csv`, `.json` and a picture for each attack. On the diagonal a network
meets its own images: the white box.

    jaxadv transfer --output runs/transfer runs/a/eval/linf runs/b/eval/linf
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxadv import console, loading, programs
from jaxadv.evaluation import metrics, table
from jaxadv.evaluation.judging.judge import Judge
from jaxadv.evaluation.report import charts, plots
from jaxadv.evaluation.result import IMAGES
from jaxadv.evaluation.writing import escape, files
from jaxadv.evaluation.writing.cells import aligned, page_table, percent
from jaxadv.files import storage
from jaxadv.specs import UsageError

NOTE = (
    "Accuracy in percent of the networks in the rows, on images that were made on "
    "those in the columns, of the {n} that all networks get right without an attack. "
    "A star marks images of another network that break a network more often than its "
    "own: then the attack on it was too weak, or its gradients are masked."
)


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A folder of an evaluation that has stored its images.

    Attributes:
      name: of the network.
      checkpoint: the folder of its run or its weight file, and what `jaxadv.load` is
        to be told of it.
      ids: [n].
      labels: [n].
      right: [n] whether the network is right without an attack.
      images: label of the attack -> [n, h, w, c].
    """

    name: str
    checkpoint: tuple[str, dict[str, Any]]
    ids: np.ndarray
    labels: np.ndarray
    right: np.ndarray
    images: dict[str, np.ndarray]


def transfer(folders: Sequence[str | Path], output: str | Path) -> dict[str, Any]:
    """Looks at all images with all networks, and writes the matrices.

    Args:
      folders: of evaluations of the same images with attacks of the same labels, one
        for each network.
      output: the folder to write into.

    Returns:
      `names`; `n`, the images that all networks get right; `accuracy`, attack -> for
      each target the accuracies on the images of each source, dictionaries with their
      intervals; and `stronger`, what beats the white box: dictionaries of `attack`,
      `target` and `source`.

    Raises:
      UsageError: fewer than two folders, one without images, or of other images.
    """
    storage.check_folder(output, "--output")
    found = [_read(Path(folder)) for folder in folders]
    attacks = _comparable(found)
    common = np.logical_and.reduce([one.right for one in found])
    if not np.any(common):
        raise UsageError("transfer: no image is right for all networks without attack")
    right = [_right(one, found, attacks, common) for one in found]
    accuracy = {
        attack: [[metrics.accuracy(seen[attack]) for seen in row] for row in right]
        for attack in attacks
    }
    content = {
        "names": _names(found),
        "n": int(np.sum(common)),
        "accuracy": accuracy,
        "stronger": [*_stronger(accuracy)],
    }
    _write(content, Path(output))
    return content


def _read(folder):
    try:
        report = json.loads((folder / "report.json").read_text("utf-8"))
        model = report["model"]
        told = model.get("file") or {"which": model["which"]}
        about = report["name"] or model["checkpoint"], model["checkpoint"], told
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"transfer: {folder} has no report of a checkpoint; give folders that "
            "eval.py has written, as runs/a/eval/linf"
        ) from None
    columns = table.load(folder / "table.npz").columns
    if not (folder / IMAGES).is_file():
        raise UsageError(
            f"transfer: {folder} has no {IMAGES}; evaluate with --save_images"
        )
    with np.load(folder / IMAGES, allow_pickle=False) as stored:
        images = {
            name.removesuffix("/image"): stored[name]
            for name in stored.files
            if name.endswith("/image")
        }
    right = columns["clean/prediction"] == columns["label"]
    return Evaluated(
        str(about[0]), about[1:], columns["id"], columns["label"], right, images
    )


def _comparable(found):
    """The attacks that all have; UsageError where there are none, or other images."""
    if len(found) < 2:
        raise UsageError("transfer: give the folders of two evaluations or more")
    first = found[0]
    for one in found[1:]:
        same = np.array_equal(one.ids, first.ids)
        if not same or not np.array_equal(one.labels, first.labels):
            raise UsageError(
                f"transfer: {one.checkpoint[0]} was evaluated on other images than "
                f"{first.checkpoint[0]}; give both the same data, --config.examples "
                "and --config.seed"
            )
    attacks = [k for k in first.images if all(k in one.images for one in found)]
    if not attacks:
        raise UsageError("transfer: the evaluations have no attack in common")
    return attacks


def _right(target, sources, attacks, common):
    """For each source: attack -> whether the target is right on its common images."""
    path, told = target.checkpoint
    model = loading.load(path, **told)
    judge, ids = Judge(model, 128), target.ids[common].astype(np.int32)
    labels = target.labels[common].astype(np.int32)
    rows = []
    for source in sources:
        row = {}
        for attack in attacks:
            images = source.images[attack][common]
            if images.dtype == np.uint8:
                images = images.astype(np.float32) / np.float32(255)
            seen = judge.verdict(jax.random.key(0), images, labels, ids)
            row[attack] = ~np.isnan(seen["margin"]) & (seen["margin"] < 0)
        rows.append(row)
    return rows


def _names(found):
    """Of the networks, by their checkpoints where two are called the same."""
    names = [one.name for one in found]
    paths = [f"{one.checkpoint[0]} ({one.checkpoint[1]})" for one in found]
    return names if len(set(names)) == len(names) else paths


def _stronger(accuracy):
    for attack, rows in accuracy.items():
        for target, row in enumerate(rows):
            for source, cell in enumerate(row):
                if cell["accuracy"] < row[target]["accuracy"]:
                    yield {"attack": attack, "target": target, "source": source}


def cells(content: Mapping[str, Any], attack: str) -> list[tuple[str, ...]]:
    """The matrix of one attack, header first; a star beats the white box."""
    stars = {
        (one["target"], one["source"])
        for one in content["stronger"]
        if one["attack"] == attack
    }
    lines = [(f"{attack}: network", *(f"made on {name}" for name in content["names"]))]
    for i, row in enumerate(content["accuracy"][attack]):
        shown = [
            percent(cell["accuracy"]) + (" *" if (i, j) in stars else "")
            for j, cell in enumerate(row)
        ]
        lines.append((content["names"][i], *shown))
    return lines


def _write(content, folder):
    page, sheet = ["# Transfer", "", escape.markdown(NOTE.format(**content))], []
    for attack in content["accuracy"]:
        lines = cells(content, attack)
        sheet += lines
        page += ["", *page_table(lines[0], lines[1:])]
        if plots.available():
            file = f"transfer_{attack}.png"
            rows = [[c["accuracy"] for c in row] for row in content["accuracy"][attack]]
            charts.matrix(np.array(rows), content["names"], folder / file, title=attack)
            page += ["", f"![{escape.markdown(attack)}]({file})"]
    files.write(folder / "transfer.md", "\n".join(page) + "\n")
    files.write_csv(folder / "transfer.csv", sheet)
    files.write_json(folder / "transfer.json", content)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, 2 for a user's mistake."""
    parser = console.Parser(
        prog="jaxadv transfer",
        description="Adversarial images of each network, judged by all of them.",
    )
    parser.add_argument("folders", nargs="+", metavar="EVALUATION")
    parser.add_argument("--output", required=True, metavar="DIR")
    flags = parser.parse_args(arguments)

    def work():
        programs.keep()
        content = transfer(flags.folders, flags.output)
        for attack in content["accuracy"]:
            print("\n".join([*aligned(cells(content, attack)), ""]))
        print(NOTE.format(**content))
        print(escape.line(Path(flags.output) / "transfer.md"))

    return console.conclude(work)


if __name__ == "__main__":
    sys.exit(main())
