"""One suite's attacks on this process's images, judged and kept.

Every success and every size was found by `judge` on the returned image, not by the
attack.
"""

import hashlib
import json
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import parallel, protocols
from jaxadv.craft import Adversarial, UnitsWarning, craft_batches, whole_chunk
from jaxadv.craft.features import wanted
from jaxadv.craft.journal import Journal
from jaxadv.evaluation import checks
from jaxadv.evaluation.judging import inputs
from jaxadv.evaluation.judging.judge import Judge
from jaxadv.evaluation.judging.pictures import Pictures, choose, mixed
from jaxadv.evaluation.run.meters import Account
from jaxadv.evaluation.suite.planned import Planned
from jaxadv.numerics import streams

_SUCCESS = Adversarial(0, 1, 2, 3, 4).success  # its place among the leaves


class Bench:
    """This process's images, and the compiled functions that attack and judge them.

    `data` has the local rows of id, label and image; columns that methods return are
    those of all processes.
    """

    def __init__(self, model, suite, data, crafter, progress):
        self.model, self.suite, self.data = model, suite, data
        self.crafter, self.progress = crafter, progress
        self.features = {k: data[k] for k in protocols.FEATURES if k in data}
        self.resumed = 0
        self._reached = np.zeros(len(data["id"]), bool)
        self._judge = Judge(model, suite.batch_size, suite.draws)
        self._maps = jax.jit(jax.vmap(lambda image: jnp.exp(suite.saliency(image))))
        self._key = jax.random.key(suite.seed)

    def judge_clean(self) -> None:
        key = jax.random.fold_in(self._key, 0)
        rows = (self.data[name] for name in ("image", "label", "id"))
        self.clean = self._judge.verdict(key, *rows)
        inputs.refuse_nan(self.data["id"], self.clean["nan"], "clean images")
        self.correct = self.clean["margin"] < 0
        if self.suite.saliency is not None:
            self.clean["foreground"] = self._foreground(self.data["image"])

    def clean_columns(self):
        names = ("prediction", "margin", "draws_right", "foreground")
        names = [name for name in names if name in self.clean]
        clean = {f"clean/{name}": self.clean[name] for name in names}
        own = {"id": self.data["id"], "label": self.data["label"]}
        return parallel.gather_rows({**own, **clean})

    def foreground(self, images) -> dict[str, np.ndarray]:
        """`foreground` [n of all processes], the scores of local images, if wanted."""
        if self.suite.saliency is None:
            return {}
        return parallel.gather_rows({"foreground": self._foreground(images)})

    def _foreground(self, images):
        rows = images, self.features["mask"], self.data["id"]
        return self._judge.foreground(self.suite.saliency, *rows)

    def open_journal(self, workdir: Path | None, where: str) -> None:
        """In `workdir`; without one nothing is kept."""
        self._journals = None if workdir is None else workdir / "journal"
        self.fingerprint = inputs.fingerprint(self.model, self.clean_columns(), where)

    def attack(
        self,
        planned: Planned,
        title: str,
        chosen: np.ndarray,
        total: int,
        prefix: str = "",
        before: tuple[dict[str, np.ndarray], np.ndarray] | None = None,
    ):
        """Attacks the local images where `chosen` [n] is true.

        The progress display counts the others of `total` images as broken.

        Args:
          before: what this method returned for an attack whose broken images are
            kept and not attacked again.

        Returns:
          The attack's columns of all local and remote images, in which the images
          that were not chosen count as broken by nothing; and the local adversarial
          images [n, h, w, c].
        """
        untouched = self._untouched()
        if before is not None:
            kept = {k: self._local(v) for k, v in before[0].items() if k in untouched}
            chosen = chosen & ~kept["success"]
            untouched |= kept | {k: untouched[k] for k in ("steps", "unconfirmed")}
        rows, self._reached = np.flatnonzero(chosen), chosen
        key = jax.random.fold_in(self._key, planned.number)
        display = self.progress(title, len(rows), total - len(rows))
        found = self._crafted(planned, key, rows, display, prefix)
        ids = self.data["id"]
        whose = self.data["label"][rows], ids[rows]
        key = streams.stream(key, "judgement")
        verdict = self._judge.verdict(key, found.image, *whose)
        inputs.refuse_nan(ids[rows], verdict["nan"], f"adversarial images of {title!r}")
        size, slack = self._judge.size(
            planned.attack.threat, self.data["image"][rows], found, *whose
        )
        inside = np.all(
            (found.image >= 0) & (found.image <= 1), axis=tuple(range(1, 4))
        )
        feasible = inside & (size <= planned.eps * (1 + slack))
        success = feasible & (verdict["margin"] >= 0)
        new = {
            "success": success,
            "prediction": verdict["prediction"],
            "margin": verdict["margin"],
            "size": size,
            "steps": found.steps_used,
            "feasible": feasible,
            "unconfirmed": found.success & ~success,
        }
        if "draws_right" in verdict:  # of what is outside the budget nothing counts
            own = self.clean["draws_right"][rows]
            new["draws_right"] = np.where(feasible, verdict["draws_right"], own)
        columns = {k: _filled(untouched[k], rows, v) for k, v in new.items()}
        images = self.data["image"] if before is None else before[1]
        images = _filled(images, rows, found.image)
        return parallel.gather_rows(columns), images

    def _untouched(self):
        """The columns of local images that no attack has changed."""
        n = len(self.data["id"])
        draws = {k: self.clean[k] for k in ("draws_right",) if k in self.clean}
        return draws | {
            "success": np.ones(n, bool),
            "prediction": self.clean["prediction"],
            "margin": self.clean["margin"],
            "size": np.zeros(n, np.float32),
            "steps": np.zeros(n, np.int32),
            "feasible": np.ones(n, bool),
            "unconfirmed": np.zeros(n, bool),
        }

    def distances(self, images):
        """`distance/<name>` [n of all processes] of local images from their originals.

        0 for the images that are wrong without an attack.
        """
        if not self.suite.distances:
            return {}
        rows = np.flatnonzero(self.correct)
        names = ("image", "label", "id")
        originals, labels, ids = (self.data[name][rows] for name in names)
        got = self._judge.distances(
            self.suite.distances, originals, images[rows], labels, ids
        )
        zero = np.zeros(len(images), np.float32)
        return parallel.gather_rows(
            {f"distance/{k}": _filled(zero, rows, v) for k, v in got.items()}
        )

    def curve(self, some: np.ndarray) -> np.ndarray:
        """[n of all processes] the smallest eps that breaks each image of `some`."""
        smallest = np.where(self.correct, np.inf, 0.0).astype(np.float32)
        looked = np.isin(self.data["id"], some)
        resumed = 0
        for planned in self.suite.curve:
            title = f"curve {planned.label} eps={planned.eps:g}"
            left = looked & (smallest == np.inf)
            found, _ = self.attack(planned, title, left, int(looked.sum()), "curve-")
            broken = self._local(found["success"])
            smallest[left & broken] = planned.eps
            resumed += self.resumed
        self.resumed = resumed
        return parallel.gather_rows(np.where(looked, smallest, np.float32(np.nan)))

    def check(self, table, samples, classes, names, tell) -> tuple[checks.Finding, ...]:
        """What the suite's level of checks finds; see `jaxadv.evaluation.checks`."""
        again = 0

        def rerun(planned, chosen):
            nonlocal again
            local = self._local(chosen)
            title, total = f"check {planned.label}", int(np.sum(local))
            found, _ = self.attack(planned, title, local, total, "check-")
            again += self.resumed
            return found["success"]

        most = checks.SAMPLES[self.suite.checks]
        subject = checks.Subject(
            model=self.model,
            images=self.data["image"],
            labels=self.data["label"],
            features=self.features,
            rows=self._local(np.arange(len(table))),
            table=table,
            attacks=self.suite.attacks,
            samples={label: some.first(most) for label, some in samples.items()},
            batch_size=self.suite.batch_size,
            draws=self.suite.draws,
            classes=classes,
            named=len(names) if names else None,
            rerun=rerun,
            black_box=self.suite.black_box,
        )
        findings = checks.run(subject, self.suite.checks, tell)
        self.resumed = again
        return findings

    def pictures(self, found, images) -> tuple[Pictures, Pictures]:
        """Local images of the last attack: those for the report, those for the checks.

        Only images that it has attacked itself, which in a cascade are those that the
        parts before it have left. The report shows some that withstood it, the checks
        want those that it broke.
        """
        found = {k: self._local(v) for k, v in found.items()}
        rows = np.flatnonzero(self._reached)
        kinds = found["success"][rows], self.data["label"][rows]
        count = max(self.suite.pictures, checks.SAMPLES[self.suite.checks])
        shown, looked = mixed(*kinds, self.suite.pictures), choose(*kinds)[:count]
        return self._pictures(found, images, rows[shown]), self._pictures(
            found, images, rows[looked]
        )

    def _pictures(self, found, images, rows):
        return Pictures(
            ids=self.data["id"][rows],
            labels=self.data["label"][rows],
            images=self.data["image"][rows],
            adversarials=images[rows],
            predictions=found["prediction"][rows],
            success=found["success"][rows],
            feasible=found["feasible"][rows],
            sizes=found["size"][rows],
            **self._looks(found, images[rows], rows),
        )

    def _looks(self, found, images, rows):
        """What the pictures show of a saliency network, if the suite has one."""
        if self.suite.saliency is None:
            return {}
        return {
            "looks": np.asarray(self._maps(images)),
            "scores": found["foreground"][rows],
            "clean_scores": self.clean["foreground"][rows],
        }

    def _local(self, column):
        """This process's rows of a gathered column."""
        return parallel.process_slice(column)

    def _crafted(self, planned, key, rows, display, prefix):
        folder = self._folder(planned, prefix)
        watched = _Watched(folder, display) if folder else _Unkept(display)
        try:
            with warnings.catch_warnings():
                # The suite has told it once, not for every point of a curve.
                warnings.simplefilter("ignore", UnitsWarning)
                found = craft_batches(
                    planned.attack,
                    self.model,
                    key,
                    self.data["image"][rows],
                    self.data["label"][rows],
                    ids=self.data["id"][rows],
                    features={k: v[rows] for k, v in self.features.items()},
                    batch_size=self.suite.batch_size,
                    chunk_steps=whole_chunk(
                        planned.attack.steps, self.suite.chunk_steps
                    ),
                    journal=watched,
                    crafter=self.crafter,
                )
        finally:
            watched.close()
        self.resumed, self._account = watched.resumed, watched.account
        self._all_resumed = len(rows) > 0 and self.resumed == len(rows)
        return found

    def seconds(self, watched: float) -> float | None:
        """What the last attack has taken over all runs, `watched` seconds in this one.

        Reading what was finished costs nothing of it; None if earlier runs did not
        keep theirs.
        """
        if self._all_resumed:
            return self._account.before
        return self._account.keep(watched)

    def _folder(self, planned, prefix):
        """Where this attack on these images is journaled, and nothing else is."""
        if self._journals is None:
            return None
        identity = {
            "attack": planned.spec,
            # A network inside the threat: the spec has its path, not its weights.
            "leaves": inputs.digest(planned.attack).hexdigest(),
            "label": planned.label,
            "seed": self.suite.seed,
            "batch_size": self.suite.batch_size,
            "run": self.fingerprint,
        }
        if used := {feature for _, feature in wanted(planned.attack)}:
            some = {k: v for k, v in self.features.items() if k in used}
            identity["features"] = inputs.digest(some).hexdigest()
        text = json.dumps(identity, sort_keys=True)
        code = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._journals / f"{prefix}{planned.label}" / code


class _Watched(Journal):
    """A journal whose readings and writings move a progress display."""

    def __init__(self, folder, progress):
        super().__init__(folder)
        self._progress = progress
        self.account = Account(self.folder)
        self.resumed = 0

    def load(self, ids, like):
        known = super().load(ids, like)
        self.resumed = len(known)
        if known:
            self.account.take_over()
            broken = sum(bool(row[_SUCCESS]) for row in known.values())
            self._progress.update(len(known), broken)
        return known

    def write(self, ids, rows):
        super().write(ids, rows)
        self._progress.update(len(ids), int(np.sum(rows.success)))

    def flush(self):
        if self._pending:
            super().flush()
            self.account.keep()

    def close(self):
        """Also after an interruption: what is finished reaches the disk."""
        self.flush()
        self._progress.close()


class _Unkept(_Watched):
    """The same without a folder: nothing is read or written."""

    def __init__(self, progress):
        self._progress, self.account, self.resumed = progress, Account(None), 0

    def load(self, ids, like):
        return {}

    def write(self, ids, rows):
        self._progress.update(len(ids), int(np.sum(rows.success)))

    def flush(self):
        pass


def _filled(default, rows, values):
    column = np.array(default)
    column[rows] = values
    return column
