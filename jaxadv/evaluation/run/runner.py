"""Runs a suite of attacks on a classifier and fills the per-example table."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv import parallel, protocols
from jaxadv.craft import Crafter
from jaxadv.evaluation import checks
from jaxadv.evaluation.judging import inputs
from jaxadv.evaluation.judging.pictures import Pictures
from jaxadv.evaluation.run.bench import Bench
from jaxadv.evaluation.run.meters import Progress, Stage, Stopwatch, unsaid
from jaxadv.evaluation.suite.config import Suite
from jaxadv.evaluation.table import Table

CLEAN = ""  # among the kept images, where no attack has that label
_LEVELS = 20  # points of a curve that is read off sizes


@dataclasses.dataclass(frozen=True)
class Timing:
    """Cost of one attack in this run.

    Attributes:
      seconds: wall time, compilation and verification included.
      compile_seconds: the part of it that went into compiling.
      programs: number of programs compiled.
      resumed: examples taken from the journal, which cost nothing now.
      measured: seconds of all runs that made these results, this one and those that
        it resumes; None where earlier ones did not keep theirs.
    """

    seconds: float
    compile_seconds: float
    programs: int
    resumed: int = 0
    measured: float | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What `run` returns: the table, and what depends on this run alone.

    `images` has the clean images and, by label, those that each attack has returned,
    in the order of the table; it is empty unless they were to be kept.
    """

    table: Table
    timings: dict[str, Timing]
    pictures: dict[str, Pictures]
    classes: int
    unconfirmed: dict[str, int]
    findings: tuple[checks.Finding, ...]
    images: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def run(
    model: Any,
    suite: Suite,
    source: Any,
    workdir: str | Path | None,
    *,
    crafter: Crafter | None = None,
    keep: bool = False,
    quiet: bool = False,
    progress: Callable[..., Progress] = Progress,
) -> Outcome:
    """Evaluates `model` on the suite's images; the same call again resumes.

    Finished examples are journaled under `workdir/journal`, in a folder that belongs
    to these weights, data, attack and seed alone. On several processes each attacks
    its own share and all return the whole table.

    Args:
      model: a Classifier.
      suite: see `config.resolve`.
      source: `source.get(positions) -> {"image": uint8 or float32 [b, h, w, c],
        "label": [b], …}`, with a length and the attribute `name`.
      workdir: where the journal lies; it is created when there is something in it.
        None keeps no journal.
      crafter: compiled functions to share between runs.
      keep: return all images too.
      quiet: do not say that something compiles, or what begins.
      progress: makes the progress display of one attack.

    Raises:
      UsageError: images outside [0, 1] or of the wrong shape, labels outside the
        classes, or logits that are not numbers.
    """
    watching = functools.partial(Stopwatch, quiet=quiet)
    stage = unsaid if quiet or not parallel.is_primary() else Stage
    ids = suite.choose(len(source), suite.examples)
    data = inputs.read(source, parallel.process_slice(ids))
    classes = inputs.check_fit(model, data)
    inputs.check_values(data, classes)
    inputs.check_saliency(suite.saliency, data, source.name)
    inputs.check_silent(model, suite.attacks)
    bench = Bench(model, suite, data, crafter or Crafter(), progress)
    with watching("clean") as watch:
        bench.judge_clean()
    timings = {"clean": _timing(watch, 0, watch.seconds)}
    folder = None if workdir is None else Path(workdir)
    bench.open_journal(folder, f"{source.name}/{suite.split}")
    columns, unconfirmed = bench.clean_columns(), {}
    pictures, samples, passed_on = {}, {}, {}
    kept = {CLEAN: parallel.gather_rows(data["image"])} if keep else {}
    for planned in suite.attacks:
        cascade = suite.cascade(planned.label)
        with watching(planned.label) as watch:
            found, images = bench.attack(
                planned,
                planned.label,
                bench.correct,
                len(bench.correct),
                before=passed_on.get(cascade),
            )
        if cascade is not None:
            passed_on[cascade] = dict(found), images
        measured = bench.seconds(watch.seconds)
        timings[planned.label] = _timing(watch, bench.resumed, measured)
        unconfirmed[planned.label] = int(np.sum(found.pop("unconfirmed")))
        found |= bench.distances(images) | bench.foreground(images)
        columns |= {f"attack/{planned.label}/{k}": v for k, v in found.items()}
        some = bench.pictures(found, images)
        pictures[planned.label], samples[planned.label] = some
        if keep:
            kept[planned.label] = parallel.gather_rows(images)
    if suite.curve:
        some = suite.choose(len(source), suite.curve_examples or len(ids))
        title = f"{len(suite.curve)} values of eps on {len(some)} images"
        stage(f"curve {suite.curve_label}", title)
        with watching(suite.curve_label or "") as watch:
            columns[f"curve/{suite.curve_label}/eps"] = bench.curve(some)
        timings["curve"] = _timing(watch, bench.resumed)
    sizes = _smallest(suite, columns)
    columns |= {f"curve/{label}/eps": smallest for label, smallest in sizes.items()}
    table = Table(columns, _metadata(suite, source, bench.fingerprint, sizes))
    told = unsaid if suite.checks == "none" else stage
    tell = told("checks", f"is the result sound? ({suite.checks})")
    with watching("checks") as watch:
        names = getattr(source, "class_names", None)
        findings = bench.check(table, samples, classes, names, tell)
    timings["checks"] = _timing(watch, bench.resumed)
    return Outcome(table, timings, pictures, classes, unconfirmed, findings, kept)


def _timing(watch, resumed=0, measured=None):
    cost = watch.seconds, watch.compile_seconds, watch.programs
    return Timing(*cost, resumed, measured)


def _smallest(suite, columns):
    """Label -> [n] smallest eps that breaks each image, of attacks that minimize it."""
    found = {}
    for planned in suite.attacks:
        of = f"attack/{planned.label}"
        if planned.measures and suite.cascade(planned.label) is None:
            success, size = columns[f"{of}/success"], columns[f"{of}/size"]
            found[planned.label] = np.where(success, size, np.inf).astype(np.float32)
    return found


def _levels(smallest, eps):
    """Evenly spaced values of eps up to the largest that an image took."""
    finite = smallest[np.isfinite(smallest)]
    top = float(np.max(finite, initial=0.0)) or eps
    levels = np.linspace(0, top, _LEVELS + 1, dtype=np.float32)
    return [float(v) for v in levels[1:]]


def _metadata(suite, source, fingerprint, sizes):
    curves = {
        planned.label: {
            "eps": _levels(sizes[planned.label], planned.eps),
            "spec": planned.spec,
        }
        for planned in suite.attacks
        if planned.label in sizes
    }
    if suite.curve:
        eps = [planned.eps for planned in suite.curve]
        curves[suite.curve_label] = {"eps": eps, "spec": suite.curve[-1].spec}
    return metadata(suite, source.name, fingerprint, curves)


def _asked(attack, draws):
    """What metrics must know of how an attack asks the network; see `table.Table`."""
    found = {}
    if not protocols.takes_gradient(attack):
        found["queries"] = protocols.network_passes(attack)[0]
    if draws > 1:
        noiseless = protocols.takes_noise_out(attack.objective)
        found["eot"] = 0 if noiseless else protocols.gradient_draws(attack.objective)
    return found


def metadata(
    suite: Suite, dataset: str, fingerprint: str, curves: Mapping[str, Any]
) -> dict[str, Any]:
    """The metadata of a table; see `table.Table`."""
    return {
        "suite": suite.name,
        "attacks": {
            p.label: {"spec": p.spec, "eps": p.eps, **_asked(p.attack, suite.draws)}
            for p in suite.attacks
        },
        "curves": dict(curves),
        "unions": {name: list(labels) for name, labels in suite.unions.items()},
        "seen": list(suite.seen),
        "means": None if suite.means is None else list(suite.means),
        "cascades": {name: list(labels) for name, labels in suite.cascades.items()},
        "sweeps": {name: dataclasses.asdict(s) for name, s in suite.sweeps.items()},
        "draws": suite.draws,
        "distances": suite.distance_specs,
        "dataset": dataset,
        "split": suite.split,
        "seed": suite.seed,
        "batch_size": suite.batch_size,
        "fingerprint": fingerprint,
        **({"metrics": list(suite.metrics)} if suite.metrics else {}),
        **({"saliency": suite.saliency_spec} if suite.saliency_spec else {}),
    }
