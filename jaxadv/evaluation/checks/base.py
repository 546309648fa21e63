"""What checks share: their record, and a network seen through a few images."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import objectives, protocols

LOSSES = ("cross_entropy", "margin", "dlr")
VERDICTS = ("ok", "warn", "fail", "not run")
SAMPLES = 20  # of an expectation over a random network, AutoAttack's "rand" version
ALIKE = 1e-4  # distance of normalized logits that rounding may cause
SURE = 5.0  # standard errors beyond which the sign of a margin is no accident


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
      id: "R1" to "R19".
      name: what was looked at.
      verdict: "ok"; "warn", worth knowing; "fail", the table cannot be trusted; or
        "not run".
      evidence: one line with the numbers.
      remedy: what to do about a "warn" or a "fail".
    """

    id: str
    name: str
    verdict: str
    evidence: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """Everything in one line."""
        text = f"{self.id} {self.name}, {self.verdict}: {self.evidence}"
        return f"{text}; {self.remedy}" if self.remedy else text


@dataclasses.dataclass(frozen=True)
class Check:
    """A check as it is declared; every finding is one of a declared check.

    Attributes:
      id: "R1" and on, a name alone.
      name: what is looked at, in a few words.
      looks: what it looks at.
      means: what it means if it fails; "" where it never does.
      warns: what a warning means; "" where it never warns.
      todo: what to do then.
      level: "cheap", with every suite; "full", at that level alone.
    """

    id: str
    name: str
    looks: str
    means: str
    warns: str
    todo: str
    level: str = "cheap"

    def found(self, verdict: str, evidence: str, remedy: str = "") -> Finding:
        """What this check has found."""
        return Finding(self.id, self.name, verdict, evidence, remedy)


def objections(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that are no "ok", the failed ones first."""
    return [f for kind in ("fail", "warn") for f in findings if f.verdict == kind]


def summary(findings: Sequence[Finding]) -> str:
    """ "sound" or "not sound", with the number of checks behind it."""
    done = [f for f in findings if f.verdict != "not run"]
    if not done:
        return "not checked"
    failed = sum(f.verdict == "fail" for f in done)
    warned = sum(f.verdict == "warn" for f in done)
    tail = f", {_count(warned, 'warning')}" if warned else ""
    if failed:
        return f"not sound: {failed} of {_count(len(done), 'check')} failed{tail}"
    return f"sound: {_count(len(done), 'check')} passed{tail}"


def _count(n, noun):
    return f"{n} {noun}" + ("s" if n != 1 else "")


class Probe:
    """A network in float32 at the highest precision, and a few images.

    One batch shape is compiled, once forward and once backward, whatever number of
    images is looked at.

    Attributes:
      model: a Classifier.
      images: float32 [n, h, w, c] in [0, 1].
      labels: int32 [n].
      block: images of one batch.
      draws: keys over which the table takes the mean prediction.
      features: of the images in their data set, name -> [n, …].
    """

    def __init__(
        self,
        model: Any,
        images: np.ndarray,
        labels: np.ndarray,
        block: int = 16,
        draws: int = 1,
        features: Mapping[str, np.ndarray] | None = None,
    ):
        self.model = protocols.full_precision(model)
        self.images = np.asarray(images, np.float32)
        self.labels = np.asarray(labels, np.int32)
        self.block = block
        self.draws = draws
        self.features = features or {}

    def __len__(self) -> int:
        return len(self.images)

    @functools.cached_property
    def classes(self) -> int:
        """The number of logits."""
        key = _keys(0, 1)[0]
        return jax.eval_shape(self.model, self.images[0], key).shape[-1]

    @functools.cached_property
    def obstacle(self) -> str:
        """Why the network cannot be differentiated; empty where it can."""
        try:
            self.gradient(LOSSES[0])
        except (ValueError, TypeError, NotImplementedError) as error:
            return str(error).strip().splitlines()[0]
        return ""

    @functools.cached_property
    def undecided(self) -> str:
        """Why the table's draws cannot tell luck from fact; empty where they can."""
        if self.draws >= SAMPLES:
            return ""
        passes = [self.logits(self.images, seed) for seed in (0, 1)]
        if distance(*passes) <= ALIKE:
            return ""
        return f"the network is random and draws is {self.draws}, see R1"

    def logits(self, images: np.ndarray, seed: int = 0) -> np.ndarray:
        """Logits [n, classes] of any images [n, h, w, c]; `seed` makes the keys."""
        parts = [
            _forward(self.model, _keys(seed, self.block), batch)
            for (batch,) in self._blocks(images)
        ]
        return np.concatenate(parts)[: len(images)]

    def judged(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The prediction that the table judges by, of any images [n, h, w, c].

        Returns:
          Logits [n, classes], of the mean prediction where there are several draws,
          and the standard errors [n] that the draws leave in their margins.
        """
        if self.draws == 1:
            return self.logits(images), np.zeros(len(images), np.float32)
        parts = [
            _drawn(self.model, _keys(0, self.block), *batch, draws=self.draws)
            for batch in self._blocks(images, labels)
        ]
        logits, errors = zip(*parts, strict=True)
        n = len(images)
        return np.concatenate(logits)[:n], np.concatenate(errors)[:n]

    def gradient(
        self,
        loss: str,
        images: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values [n] of a loss and its gradients [n, h, w, c].

        Args:
          loss: one of `LOSSES`, the cross-entropy as its `objectives.score`, or
            "weighted".
          images: [n, h, w, c], one for each label; default: the probe's own.
          weights: [n, classes], for the sum of weighted logits.
        """
        images = self.images if images is None else images
        weights = self._no_weights() if weights is None else weights
        which = (*LOSSES, "weighted").index(loss)
        parts = [
            _backward(self.model, _keys(0, self.block), which, *batch)
            for batch in self._blocks(images, self.labels, weights)
        ]
        values, gradients = zip(*parts, strict=True)
        n = len(images)
        return np.concatenate(values)[:n], np.concatenate(gradients)[:n]

    def _no_weights(self):
        return np.zeros((len(self), self.classes), np.float32)

    def _blocks(self, *rows):
        """Blocks of arrays [n, …]; the last one is filled with the first row."""
        for start in range(0, len(rows[0]), self.block):
            index = np.arange(start, start + self.block)
            index[index >= len(rows[0])] = 0
            yield tuple(row[index] for row in rows)


def margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] largest other logit minus the label's, as `objectives.margin`."""
    others = np.where(np.arange(logits.shape[1]) == labels[:, None], -np.inf, logits)
    return others.max(1) - logits[np.arange(len(labels)), labels]


def correct(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] whether the label's logit [n, classes] is the largest; a tie is not."""
    return margin(logits, labels) < 0


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest l2 distance of two passes' logits [n, classes], each of norm 1."""
    wide = (a.astype(np.float64), b.astype(np.float64))
    unit = [z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
            for z in wide]  # fmt: skip
    return float(np.max(np.linalg.norm(unit[0] - unit[1], axis=1), initial=0.0))


def _keys(seed, count):
    return jax.random.key_data(jax.random.split(jax.random.key(seed), count))


@jax.jit
def _forward(model, keys, images):
    with jax.default_matmul_precision("highest"):
        return jax.vmap(model)(images, keys)


@functools.partial(jax.jit, static_argnames="draws")
def _drawn(model, keys, images, labels, draws):
    def one(key, image, label):
        found = objectives.drawn(model, image, key, draws)
        logits = objectives.log_mean(found)
        wrong = jnp.where(jnp.arange(logits.shape[0]) == label, -jnp.inf, logits)
        # How much each draw pulls at the log of the two mean probabilities.
        share = jnp.exp(found - logits)
        pull = share[:, jnp.argmax(wrong)] - share[:, label]
        return logits, jnp.std(pull) / (draws - 1) ** 0.5

    with jax.default_matmul_precision("highest"):
        return jax.vmap(one)(keys, images, labels)


@jax.jit
def _backward(model, keys, which, images, labels, weights):
    def one(key, image, label, weight):
        logits, pull = jax.vjp(lambda x: model(x, key), image)
        losses = (
            objectives.soft_margin,
            objectives.margin,
            objectives.dlr,
            lambda z, _: jnp.sum(weight * z),
        )
        # Chosen among the small vectors, so that the network is run back once.
        found = [jax.value_and_grad(loss)(logits, label) for loss in losses]
        values, cotangents = (jnp.stack(part) for part in zip(*found, strict=True))
        return values[which], pull(cotangents[which])[0]

    with jax.default_matmul_precision("highest"):
        return jax.vmap(one)(keys, images, labels, weights)
