"""A perceptual study: which changes do people see, and which distance foretells it.

    python -m jaxadv.evaluation.tools.study human_annotations.csv --images images \\
        --distance l2 ssim lpips_alexnet --output study

Reads the annotations of Laidlaw, Singla and Feizi, "Perceptual adversarial robustness:
defense against unseen threat models", 2021, section 6, or a study of the same layout:

  ANNOTATIONS.csv    one row an answer: `pair_id`, `pair_type` (the attack), `choice`
                     ("same", or anything else for "different"), and the files shown
                     as `original` and `adversarial`. Equal file names, whatever the
                     folder and the suffix, make a sentinel: one image shown twice.
  DIR/pairs.json     a list of {"id", "size", "original", "adversarial", …}: the size
                     of the bound, and the images' files below DIR

The perceptibility of an attack at a bound is the share of the answers about its pairs
that say "different"; sentinels are counted apart and nobody's answers are removed, as
in the paper, whose sentinels were called different in 4.1 % of the answers. Each pair
was judged by several people, so answers are not independent and the true uncertainty
is somewhat larger than the Wilson interval.
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.stats

from jaxadv import console, programs, specs
from jaxadv.data import images as encoded
from jaxadv.evaluation import metrics
from jaxadv.evaluation.judging import judge
from jaxadv.evaluation.report import charts
from jaxadv.evaluation.writing import files
from jaxadv.evaluation.writing.cells import aligned, page_table, percent
from jaxadv.files import storage
from jaxadv.perceptual import DISTANCES, NETWORKS, networks
from jaxadv.specs import UsageError

COLUMNS = ("pair_id", "choice", "original", "adversarial")
FIELDS = ("id", "size", "original", "adversarial")
SIZES = ("small", "medium", "large")
_BYTES = 256 << 20  # of the annotations and of pairs.json
PLAIN = ("l2", "linf", "ssim")
ALEXNET = {"name": "alexnet", "otherwise": "stlpips_alexnet"}  # where none is given


def study(
    annotations: str | Path,
    images: str | Path,
    output: str | Path,
    distances: Mapping[str, Any],
    *,
    kind: str = "pair_type",
    batch_size: int = 16,
) -> dict[str, Any]:
    """Writes `study.json`, `study.md`, `perceptibility.png` and `correlation.png`.

    Args:
      annotations: the CSV file; see the module.
      images: the folder of pairs.json and the images.
      output: the folder to write into.
      distances: name -> distance; see `parse_distance`.
      kind: the column of the annotations, or the field of pairs.json, that names
        the attack.
      batch_size: pairs that are measured at a time.

    Returns:
      `groups`, a list with `type`, `size`, `pairs`, `answers`, `different`,
      `perceptibility`, `low`, `high` and `distances` (name -> mean over the pairs);
      `correlations`, name -> `pearson` and `spearman` of the groups' mean distance
      and perceptibility, None where undefined; and `sentinels`.

    Raises:
      UsageError: a missing or damaged file, column, field or image.
    """
    storage.check_folder(output, "--output")
    annotations, images = Path(annotations), Path(images)
    rows = read_answers(annotations, kind)
    pairs = read_pairs(images / "pairs.json")
    answers = [row for row in rows if not _sentinel(row)]
    if not answers:
        raise UsageError(
            f"{annotations}: no answers about changed images: in every row the files "
            "in columns original and adversarial have the same name"
        )
    groups, members = _groups(answers, pairs, annotations, images, kind)
    wanted = dict.fromkeys(pair for ids in members for pair in ids)
    measured = measure({k: pairs[k] for k in wanted}, images, distances, batch_size)
    for group, ids in zip(groups, members, strict=True):
        group["distances"] = {
            name: float(np.mean([values[pair] for pair in ids]))
            for name, values in measured.items()
        }
    seen = [group["perceptibility"] for group in groups]
    content = {
        "groups": groups,
        "correlations": {
            name: correlation([group["distances"][name] for group in groups], seen)
            for name in distances
        },
        "sentinels": _share([row for row in rows if _sentinel(row)]),
    }
    _write(content, Path(output))
    return content


def parse_distance(text: str) -> tuple[str, Any]:
    """Name and distance of `l2`, `linf`, `ssim` or `lpips_NETWORK[=PATH]`.

    `lpips_untrained[=ARCH]` measures in a network of random weights.

    Raises:
      UsageError: another name, or a network that cannot be loaded.
    """
    name, _, path = text.partition("=")
    head, _, network = name.partition("_")
    if head == "lpips" and network in NETWORKS:
        field = "arch" if network == "untrained" else "path"
        spec: dict[str, Any] = {"name": network} | ({field: path} if path else {})
        spec = {"name": "lpips", "network": spec}
    elif name in DISTANCES and name != "lpips" and not path:
        spec = {"name": name}
    else:
        plain = ", ".join(sorted(set(DISTANCES) - {"lpips"}))
        raise UsageError(
            f"--distance: unknown {text!r}; give {plain}, or lpips_NETWORK or "
            f"lpips_NETWORK=PATH with one of the networks {', '.join(NETWORKS)}"
        )
    return name, specs.build(spec, DISTANCES, f"--distance {name}")


def default_distances() -> tuple[str, ...]:
    """`PLAIN`, and LPIPS in the AlexNet that is there; its name tells which."""
    return (*PLAIN, f"lpips_{networks.settle(ALEXNET)[0]['name']}")


def read_answers(path: Path, kind: str = "pair_type") -> list[dict[str, str]]:
    """The rows of the annotations as dictionaries; see the module.

    Raises:
      UsageError: there is no such file, no row, a column is missing or empty.
    """
    storage.check_file(path, most=_BYTES)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header, rows = reader.fieldnames or (), list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: no annotations ({error})") from None
    for column in COLUMNS:
        if column not in header:
            raise UsageError(
                f"{path}: column {column!r} is missing; it has: {', '.join(header)}"
            )
    if not rows:
        raise UsageError(f"{path}: there are no annotations below the header")
    needed = (*COLUMNS, kind) if kind in header else COLUMNS
    for number, row in enumerate(rows, 2):
        empty = [column for column in needed if not (row[column] or "").strip()]
        if empty:
            raise UsageError(f"{path}: line {number}: column {empty[0]!r} is empty")
    return rows


def read_pairs(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of pairs.json by their id as text.

    Raises:
      UsageError: there is no such file, or it is not a list of such entries.
    """
    storage.check_file(path, "--images", most=_BYTES)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}: no list of pairs ({error}); give its folder with --images"
        ) from None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise UsageError(f"{path}: it must be a list of {{{', '.join(FIELDS)}}}")
    for number, entry in enumerate(entries):
        missing = [field for field in FIELDS if field not in entry]
        if missing:
            raise UsageError(f"{path}: entry {number} has no {missing[0]!r}")
        for field in ("original", "adversarial"):
            if not isinstance(entry[field], str):
                raise UsageError(f"{path}: entry {number}: {field!r} is no file name")
    return {str(entry["id"]): entry for entry in entries}


def measure(
    pairs: Mapping[str, Mapping[str, Any]],
    images: Path,
    distances: Mapping[str, Any],
    batch_size: int = 16,
) -> dict[str, dict[str, float]]:
    """Distance name -> pair id -> distance of the pair's two images.

    Raises:
      UsageError: an image cannot be read, or has another size than the first.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in distances}
    program = jax.jit(jax.vmap(judge.between, in_axes=(None, 0, 0)))
    ids, shape = list(pairs), None
    for start in range(0, len(ids), batch_size):
        some = ids[start : start + batch_size]
        paths = [
            images / pairs[k][f] for k in some for f in ("original", "adversarial")
        ]
        loaded = [_image(file) for file in paths]
        shape = shape or loaded[0].shape
        for file, image in zip(paths, loaded, strict=True):
            if image.shape != shape:
                raise UsageError(
                    f"{file}: the image is {image.shape[:2]}, the first one was "
                    f"{shape[:2]}; all must have one size"
                )
        batch = np.zeros((batch_size, 2, *shape), np.float32)  # one shape, one program
        batch[: len(some)] = np.stack(loaded).reshape(-1, 2, *shape)
        got = jax.device_get(program(dict(distances), batch[:, 0], batch[:, 1]))
        for name, values in found.items():
            values.update(zip(some, map(float, got[name]), strict=False))
    return found


def _image(path):
    """[h, w, 3] in [0, 1]."""
    image = encoded.decode(encoded.read(path), path, "RGB")
    return np.asarray(image, np.float32) / 255


def _sentinel(row):
    return Path(row["original"]).stem == Path(row["adversarial"]).stem


def _groups(answers, pairs, annotations, images, kind):
    """The groups of one attack and bound, and the ids of the pairs of each."""
    sorted_answers: dict[tuple[str, str], list] = {}
    for row in answers:
        pair = pairs.get(row["pair_id"])
        if pair is None:
            raise UsageError(
                f"{annotations}: pair_id {row['pair_id']!r} is not an id of "
                f"{images / 'pairs.json'}; give the study's own images with --images"
            )
        attack = row.get(kind, pair.get(kind))
        if attack is None:
            raise UsageError(
                f"{annotations}: no column {kind!r}, nor such a field in pairs.json; "
                "give the one that names the attack with --type"
            )
        sorted_answers.setdefault((str(attack), str(pair["size"])), []).append(row)
    order = sorted(sorted_answers, key=lambda k: (k[0], _rank(k[1])))
    members = [
        list(dict.fromkeys(row["pair_id"] for row in sorted_answers[k])) for k in order
    ]
    groups = [
        {
            "type": key[0],
            "size": key[1],
            "pairs": len(ids),
            **_share(sorted_answers[key]),
        }
        for key, ids in zip(order, members, strict=True)
    ]
    return groups, members


def _rank(size):
    return (SIZES.index(size) if size in SIZES else len(SIZES)), size


def _share(rows):
    """How many answers say "different", with the Wilson 95 % interval."""
    different = sum(row["choice"].strip().lower() != "same" for row in rows)
    low, high = metrics.wilson(different, len(rows))
    return {
        "answers": len(rows),
        "different": different,
        "perceptibility": different / len(rows) if rows else None,
        "low": low,
        "high": high,
    }


def correlation(x: Any, y: Any) -> dict[str, float | None]:
    """`pearson` and `spearman` of two lists; None where they are undefined."""
    x, y = np.asarray(x), np.asarray(y)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"pearson": None, "spearman": None}
    found = {"pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr}
    return {key: float(function(x, y)[0]) for key, function in found.items()}


def _write(content, output):
    output.mkdir(parents=True, exist_ok=True)
    panels = {
        name: [{**g, "distance": g["distances"][name]} for g in content["groups"]]
        for name in content["correlations"]
    }
    found = content["correlations"]
    charts.perceptibility(panels, found, output / "perceptibility.png")
    charts.correlation(found, output / "correlation.png")
    files.write_json(output / "study.json", content)
    files.write(output / "study.md", _page(content))


def _tables(content):
    """Cells of the groups' table and of the correlations' table, headers first."""
    names = list(content["correlations"])
    means = (f"mean {name}" for name in names)
    head = ("attack", "bound", "pairs", "answers", "perceptibility %", "95 % interval")
    perceived: list[tuple[str, ...]] = [(*head, *means)]
    for g in content["groups"]:
        means = [f"{g['distances'][name]:.4g}" for name in names]
        row = (g["type"], g["size"], str(g["pairs"]), *_cells(g), *means)
        perceived.append(row)
    sentinels = content["sentinels"]
    if sentinels["answers"]:
        cells = ("sentinel", "-", "-", *_cells(sentinels), *["-"] * len(names))
        perceived.append(cells)
    correlations: list[tuple[str, ...]] = [
        ("correlation with perceptibility", "Pearson", "Spearman")
    ]
    for name, found in content["correlations"].items():
        values = (found[key] for key in ("pearson", "spearman"))
        correlations.append((name, *("-" if v is None else f"{v:.3f}" for v in values)))
    return perceived, correlations


def _cells(share):
    interval = f"{percent(share['low'])} - {percent(share['high'])}"
    return str(share["answers"]), percent(share["perceptibility"]), interval


def _page(content):
    (head, *rows), (below, *correlations) = _tables(content)
    count = len(content["groups"])
    lines = [
        "# Perceptual study",
        "",
        *page_table(head, rows),
        "",
        'Perceptibility is the share of the answers that say "different". Intervals '
        "are Wilson 95 %, as if the answers were independent.",
        "",
        *page_table(below, correlations),
        "",
        f"Correlations are over the {count} rows of attacks, of their mean distance "
        "and their perceptibility.",
        "",
        "![perceptibility](perceptibility.png)",
        "",
        "![correlation](correlation.png)",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, 2 for a user's mistake."""
    parser = console.Parser(
        prog="jaxadv study",
        description="Perceptibility of attacks, and how distances correlate with it.",
    )
    parser.add_argument("annotations", metavar="ANNOTATIONS.csv")
    parser.add_argument("--images", required=True, metavar="DIR", help="of pairs.json")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument(
        "--distance",
        nargs="+",
        help="l2, linf, ssim, lpips_NETWORK or lpips_NETWORK=PATH "
        f"(default: {' '.join(PLAIN)} and lpips_{ALEXNET['name']}, or "
        f"lpips_{ALEXNET['otherwise']} where only that is there)",
    )
    parser.add_argument(
        "--type",
        default="pair_type",
        metavar="COLUMN",
        help="what names the attack, in the annotations or in pairs.json",
    )
    flags = parser.parse_args(arguments)

    def work():
        programs.keep()
        chosen = flags.distance or default_distances()
        distances = dict(map(parse_distance, chosen))
        content = study(
            flags.annotations, flags.images, flags.output, distances, kind=flags.type
        )
        for table in _tables(content):
            print("\n".join([*aligned(table), ""]))
        for file in ("study.md", "study.json", "perceptibility.png", "correlation.png"):
            print(Path(flags.output) / file)

    return console.conclude(work)


if __name__ == "__main__":
    sys.exit(main())
