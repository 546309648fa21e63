"""Checks that tell a table that can be trusted from one that cannot.

The cheap ones (R1 to R7, R10 to R12, R15) look at a few images and at the table, with
every suite. Level "full" looks at more images, also runs attacks again (R8, R9, R17)
and judges admissibility to RobustBench (R18) and perceptual bounds (R19). The numbers
are names: none means more than another, and some were never given (`skipped`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxadv.evaluation import metrics
from jaxadv.evaluation.checks import (
    forward,
    gradients,
    noise,
    program,
    results,
    scale,
    strength,
)
from jaxadv.evaluation.checks.base import (
    Check,
    Finding,
    Probe,
    objections,
    summary,
)
from jaxadv.evaluation.table import Table
from jaxadv.threats import Linf

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "Probe",
    "Subject",
    "objections",
    "run",
    "skipped",
    "summary",
]

# Every check, by number; see `Check` for what each declares.
CHECKS = (
    forward.RANDOMIZED,
    scale.OUTPUTS,
    gradients.ZERO,
    results.BLACK_BOX,
    program.PROGRAM,
    forward.CLASSES,
    forward.VERIFICATION,
    strength.CURVE,
    strength.CONVERGED,
    gradients.ROSE,
    noise.NOISE,
    results.ALONE,
    results.INTERVALS,
    strength.SPREAD,
    results.ADMISSIBLE,
    results.EXTERNAL,
)

# How many images are looked at, random points are drawn around each survivor, and
# adversarial images of each attack are looked at again.
IMAGES = {"cheap": 16, "full": 128}
SURVIVORS = {"cheap": 16, "full": 50}
DRAWS = {"cheap": 16, "full": 1000}
SAMPLES = {"none": 0, "cheap": 32, "full": 256}


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is checked: a table, and what it was made of.

    Attributes:
      model: the attacked Classifier.
      images: float32 [m, h, w, c], this process's images.
      labels: int32 [m].
      features: of the images in their data set, name -> [m, …].
      rows: [m] their rows in the table.
      table: the per-example table of all processes.
      attacks: the suite's, each with `label`, `spec` and `attack`.
      samples: label -> a few images, see `forward.verification`.
      batch_size: images at a time when the table was made.
      draws: keys over which its predictions are the mean.
      classes: logits of the network.
      named: classes of the data set; None where it does not say.
      rerun: see `strength`; used at level "full" alone.
      black_box: spec of an attack without gradients, for threats of the suite that
        have none; at level "full" alone.
    """

    model: Any
    images: np.ndarray
    labels: np.ndarray
    features: Mapping[str, np.ndarray]
    rows: np.ndarray
    table: Table
    attacks: tuple[Any, ...]
    samples: Mapping[str, Any]
    batch_size: int
    draws: int
    classes: int
    named: int | None
    rerun: strength.Rerun
    black_box: Mapping[str, Any]


def run(
    subject: Subject, level: str, tell: Callable[[str], None] = lambda what: None
) -> tuple[Finding, ...]:
    """All findings of a level, by number; the same for the same table.

    `level` is "cheap", "full" or "none"; `tell` is called with what is looked for next.

    What needs images looks first at those that withstood all attacks, since it is
    their robustness that is claimed.
    """
    if level == "none":
        return ()
    table, attacks, again = subject.table, subject.attacks, subject.rerun
    by_label = {planned.label: planned.attack for planned in attacks}
    found = _Found(tell)
    found("classes", forward.class_count, subject.classes, subject.named, by_label)
    found("who broke what", results.who_broke_what, table, attacks)
    found("intervals", results.intervals, table)
    if len(subject.images):
        _looks(subject, level, found)
    more = ()
    if level == "full":
        pixels = int(np.prod(subject.images.shape[1:]))
        tell("attacks without gradients")
        more = strength.challenges(table, attacks, again, subject.black_box)
        curve = subject.classes, pixels
        found("other budgets", strength.curve, table, attacks, again, *curve)
        found("more steps", strength.converged, table, attacks, again)
        found("other seeds", strength.seeds, table, attacks, again)
        found("admissibility", results.admissible, found.all)
        found("external distance", results.external_distance, table, attacks)
    found("black boxes", results.black_box, table, attacks, more)
    return tuple(sorted(found.all, key=lambda finding: int(finding.id[1:])))


class _Found:
    """The findings so far; `tell` hears of each check before it runs."""

    def __init__(self, tell):
        self.all: list[Finding] = []
        self._tell = tell

    def __call__(self, what, check, *arguments):
        self._tell(what)
        self.all.append(check(*arguments))


def skipped() -> list[str]:
    """The ids between those of `CHECKS` that no check has."""
    numbers = {int(check.id[1:]) for check in CHECKS}
    return [f"R{n}" for n in range(1, max(numbers)) if n not in numbers]


def _looks(subject, level, found):
    """The checks that look at images."""
    table = subject.table
    survives = metrics.robust(table, table.attacks)[subject.rows]
    correct = metrics.clean_correct(table)[subject.rows]
    order = np.lexsort((subject.rows, ~correct, ~survives))[: IMAGES[level]]
    # Another batch size than the table's, so that R7 sees what depends on it.
    block = 12 if subject.batch_size == 16 else 16
    looked = subject.images[order], subject.labels[order]
    features = {name: values[order] for name, values in subject.features.items()}
    probe = Probe(subject.model, *looked, block, subject.draws, features)
    used, samples = gradients.climbed(subject.attacks)
    balls = results.balls(subject.attacks)
    ball = balls[0][0].attack.threat if balls else Linf(4 / 255)
    count = int(np.sum(survives[order]))
    found("randomness", forward.randomized, probe, samples)
    found("scale of the logits", scale.outputs, probe, subject.attacks, count)
    found("zero gradients", gradients.zero, probe, used, count, subject.attacks)
    found("the network's program", program.program, probe)
    found("verification", forward.verification, probe, subject.samples)
    found("loss along the gradient", gradients.never_rose, probe, ball, used)
    survivors = list(_survivors(subject, balls, level))
    found("noise around survivors", noise.noise, probe, survivors, DRAWS[level])


def _survivors(subject, balls, level):
    """(threat, images, labels) of what the attacks in each lp ball did not break."""
    for group in balls:
        labels = [planned.label for planned in group]
        survive = metrics.robust(subject.table, labels)[subject.rows]
        rows = np.flatnonzero(survive)[: SURVIVORS[level]]
        yield group[0].attack.threat, subject.images[rows], subject.labels[rows]
