"""Certified accuracy under Gaussian smoothing: a config with a field `smoothing`.

    python eval.py --config=configs/suites/certify.py --checkpoint=runs/gaussian

Writes `certificates.npz`, one row an image; `certify.tsv`, the same in the format that
the field's scripts read; `certify.md`, `.csv` and `.json` with the accuracy at radii;
and `certified.png`. What a killed run has counted is kept in `journal/certify`.

Source: Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized
smoothing", 2019.
"""

import dataclasses
import json
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxadv import parallel, schema
from jaxadv.craft.journal import Journal
from jaxadv.evaluation import table
from jaxadv.evaluation.certificates import summary
from jaxadv.evaluation.judging import inputs
from jaxadv.evaluation.report import plots
from jaxadv.evaluation.run.meters import Stopwatch
from jaxadv.evaluation.suite.declared import Data
from jaxadv.evaluation.suite.planned import check_name
from jaxadv.evaluation.writing import escape, files
from jaxadv.evaluation.writing.cells import aligned, page_table
from jaxadv.files.storage import remove_temporary
from jaxadv.smoothing import certify, statistics
from jaxadv.specs import UsageError, static

STEP = 0.25  # of the radii at which the accuracy is told


@dataclasses.dataclass(frozen=True)
class Smoothing:
    """The noise, and how often it is drawn."""

    sigma: float | None = static(
        None,
        above=0,
        unit="[0, 1] of a pixel",
        help="deviation of the noise; None: that of the training",
    )
    selection: int = static(100, minimum=1, help="draws that choose the class, n0")
    draws: int = static(
        100_000, minimum=1, help="further draws that bound its probability, n"
    )
    alpha: float = static(
        0.001, above=0, maximum=0.5, help="probability that a certificate is wrong"
    )
    radii: tuple[float, ...] | None = static(
        None,
        minimum=0,
        unit="l2",
        help="at which the accuracy is told; None: in steps of 0.25, as far as so many "
        "draws can certify",
    )
    early: bool = static(
        False,
        help="stop an image whose abstention is certain: no answer, radius or alpha "
        "changes, but its bound is lower",
    )


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a config that certifies a smoothed network."""

    name: str = static("certify", help="of the output folder")
    smoothing: Smoothing = schema.group(
        Smoothing, "the noise, and how often it is drawn"
    )
    data: Data = schema.group(Data, "the data set; None: the checkpoint's")
    split: str = static("test", help="of the images")
    examples: int | None = static(
        500, minimum=0, help="how many images, evenly over the split; 0 or None: all"
    )
    seed: int = static(0, minimum=0, help="of the noise")
    batch_size: int = static(1000, minimum=1, help="draws at a time on each device")


def resolve(
    given: Mapping[str, Any], training: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The config with its defaults filled in, sigma from the training if need be.

    Raises:
      UsageError: an unknown field, a bad number, or no sigma.
    """
    full = schema.fill(Fields, given)
    schema.check(Fields, full, "config")
    check_name(full["name"], "config.name")
    noise = full["smoothing"]
    if noise["sigma"] is None and training is not None:
        noise["sigma"] = dict(training.get("defense") or {}).get("sigma")
    if noise["sigma"] is None and training is not None:
        raise UsageError(
            "config.smoothing.sigma is not given, and the training had no noise; give "
            "--config.smoothing.sigma=0.25"
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
    """Certifies a network at the images of a split; the same call goes on after a kill.

    Args:
      model: a Classifier.
      source: the split; see `evaluation.suite.run`.
      config: see `resolve`; with a sigma.
      workdir: gets what is written.
      name: of the network, for the title.
      show: prints the table.

    Returns:
      `summary.summarize` of what was found.

    Raises:
      UsageError: a bad config, a workdir in use, images that do not fit the network,
        or logits that are not numbers.
    """
    full, workdir = resolve(config, {}), Path(workdir)
    count = min(full["examples"] or len(source), len(source))
    ids = np.arange(count) * len(source) // count
    data = inputs.read(source, parallel.process_slice(ids))
    inputs.check_values(data, inputs.check_fit(model, data))
    with parallel.held(workdir):
        columns = _certified(model, source, full, data, workdir)
        content = summary.summarize(columns, _radii(full["smoothing"]))
        content |= {"config": full, "network": name}
        if parallel.is_primary():
            remove_temporary(workdir)
            _write(columns, content, workdir)
    if parallel.is_primary():
        show("\n".join(aligned(summary.table(content))))
        for line in _notes(content):
            show(line)
        show(f"page: {escape.line(workdir / 'certify.md')}")
    return content


def _certified(model, source, full, data, workdir):
    """The columns of all processes' images."""
    noise = full["smoothing"]
    drawn = {name: noise[name] for name in ("sigma", "selection", "draws")}
    journal = Journal(workdir / "journal" / "certify" / _code(model, full, drawn, data))
    total = len(data["id"]) * (noise["selection"] + noise["draws"])
    bar = tqdm(
        total=total,
        desc="certify",
        unit="draw",
        unit_scale=True,
        mininterval=1.0 if sys.stderr.isatty() else 10.0,
        disable=not parallel.is_primary(),
    )
    with bar, Stopwatch("certify"):
        found = certify(
            model,
            jax.random.key(full["seed"]),
            data["image"],
            ids=data["id"],
            **drawn,
            alpha=noise["alpha"],
            early=noise["early"],
            batch_size=full["batch_size"],
            journal=journal,
            progress=bar.update,
        )
    rows = {"id": data["id"], "label": data["label"], **found}
    return parallel.gather_rows(rows)


def _radii(noise):
    """Those that are given, else steps up to what votes all for one class certify."""
    if noise["radii"] is not None:
        return noise["radii"]
    lower = statistics.clopper_pearson(noise["draws"], noise["draws"], noise["alpha"])
    reach = float(statistics.certified_radius(lower, noise["sigma"]))
    return [STEP * i for i in range(int(reach / STEP) + 1)]


def _code(model, full, drawn, data):
    """Names the counts: of these weights, images, noise and numbers of draws."""
    code = inputs.digest(model)
    # Logits stand for what is no weight: the network and its preprocessing. All
    # processes find the same, however many they are.
    gray = np.full(data["image"].shape[1:], 0.5, np.float32)
    code.update(np.asarray(jax.jit(lambda model, image: model(image))(model, gray)))
    sums = np.array([zlib.crc32(image.tobytes()) for image in data["image"]], np.uint32)
    for column in parallel.gather_rows((data["id"], sums)):
        code.update(np.ascontiguousarray(column))
    code.update(json.dumps([full["seed"], drawn, jax.__version__]).encode())
    return code.hexdigest()[:16]


def _notes(content):
    noise, n = content["config"]["smoothing"], content["n"]
    return [
        f"sigma {noise['sigma']:g}, {noise['selection']} + {noise['draws']} draws an "
        f"image; each certificate is wrong with a probability of at most "
        f"{noise['alpha']:g}, of {n} about {noise['alpha'] * n:.2g} at most",
        *(
            ["images were stopped once their abstention was certain; alpha is the same"]
            if noise["early"]
            else []
        ),
    ]


def _write(columns, content, folder):
    cells = summary.table(content)
    table.save(
        table.Table(dict(columns), {"config": content["config"]}),
        folder / "certificates.npz",
    )
    files.write(folder / "certify.tsv", summary.published(columns))
    files.write_json(folder / "certify.json", content)
    files.write_csv(folder / "certify.csv", cells)
    picture = []
    if plots.available():
        noise = content["config"]["smoothing"]
        title = (
            f"{content['network']}, sigma = {noise['sigma']:g}, {content['n']} images"
        )
        plots.certified(summary.curve(columns), folder / "certified.png", title=title)
        picture = ["", "![certified accuracy](certified.png)"]
    page = [
        f"# {escape.markdown(content['network'])}, certified by randomized smoothing",
        "",
        *page_table(cells[0], cells[1:]),
        "",
        *(f"- {escape.markdown(line)}" for line in _notes(content)),
        *picture,
    ]
    files.write(folder / "certify.md", "\n".join(page) + "\n")
