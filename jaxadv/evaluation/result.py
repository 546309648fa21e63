"""What an evaluation has found: numbers, images, a page, files."""

import base64
import dataclasses
import html
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxadv
from jaxadv import parallel
from jaxadv.evaluation import metrics, report, table
from jaxadv.evaluation.judging import inputs, stored
from jaxadv.evaluation.report import drawing, headline, page, plots, sheets
from jaxadv.evaluation.run import meters, runner
from jaxadv.evaluation.suite.config import Suite
from jaxadv.evaluation.writing import cells, escape
from jaxadv.files.storage import remove_temporary
from jaxadv.specs import UsageError

IMAGES = "adversarial.npz"
WORST = "worst"  # among the adversarial images


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What a suite has found of a model.

    Attributes:
      report: everything that is reported, plain values; see `report.build`.
      table: one row an image; see `jaxadv.evaluation.table`.
    """

    report: dict[str, Any]
    table: table.Table
    _model: Any
    _suite: Suite
    _outcome: runner.Outcome
    _summary: dict[str, Any]
    _class_names: tuple[str, ...] | None

    @property
    def accuracy(self) -> float:
        """The share of images that are correct and that no attack breaks."""
        return float(np.mean(metrics.robust(self.table, self.table.attacks)))

    @property
    def clean_accuracy(self) -> float:
        """The share of images that are correct without an attack."""
        return float(np.mean(metrics.clean_correct(self.table)))

    @property
    def images(self) -> np.ndarray:
        """[n, h, w, c] float32, the images without an attack, as the table has them.

        Raises:
          UsageError: they were not kept.
        """
        return self._kept()[runner.CLEAN]

    @property
    def adversarial(self) -> dict[str, np.ndarray]:
        """Label of an attack, or "worst" -> what it returned, [n, h, w, c] float32.

        In the order of the table. The worst of an image is one that breaks it, if
        there is one, and then the one of largest margin. An image that is wrong
        without an attack is itself.

        Raises:
          UsageError: the images were not kept.
        """
        found = {k: v for k, v in self._kept().items() if k != runner.CLEAN}
        every, best = list(found.values()), self._worst(list(found))
        worst = np.stack([every[k][i] for i, k in enumerate(best)])
        return {WORST: worst, **found}

    def _worst(self, labels):
        """[n] the position in `labels` of the attack with the worst image."""
        success = np.stack([self.table.attack(k, "success") for k in labels])
        margin = np.stack([self.table.attack(k, "margin") for k in labels])
        kept_out = success.any(axis=0) & ~success
        return np.argmax(np.where(kept_out, -np.inf, margin), axis=0)

    def _kept(self):
        if not self._outcome.images:
            raise UsageError(
                "the images of this evaluation were not kept; call it with "
                "keep_images=True"
            )
        return self._outcome.images

    def save(self, folder: str | Path) -> dict[str, str]:
        """Writes what eval.py does: report, table and pictures.

        Returns:
          What there is -> the name of its file in `folder`.

        Raises:
          UsageError: another run is at work in the folder, or it cannot be written.
        """
        with parallel.held(folder):
            return self.write(Path(folder)) if parallel.is_primary() else {}

    def write(
        self,
        folder: Path,
        show: Callable[[str], None] = lambda line: None,
        stage: Callable[[str, str], Callable[[str], None]] = meters.unsaid,
    ) -> dict[str, str]:
        """`save` for whoever holds the folder; `show` is told table and files.

        `stage` makes what says that the report begins, and what is drawn.
        """
        tell = stage("report", f"tables and pictures in {escape.line(folder)}")
        remove_temporary(folder)
        _make_room(folder, self.table)
        table.save(self.table, folder / "table.npz")
        drawn = self._drawn(folder, tell)
        report.write(self.report, drawn, folder)
        show(report.verdict(self.report))
        show(report.text(self.report))
        main = {"page": "report.html", "data": "report.json", "table": "table.npz"}
        files = main | drawn
        for name, file in files.items():
            show(f"{name}: {escape.line(folder / file)}")
        if not plots.available():
            show(f"no pictures were drawn: {plots.REMEDY}")
        return files

    def _drawn(self, folder, tell):
        """The pictures written into a folder, name -> file; none without matplotlib."""
        made = self._outcome, self._suite, self._summary
        if not plots.available():
            return {}
        return drawing.draw(*made, folder, self._class_names, tell)

    def save_images(
        self,
        path: str | Path,
        dtype: str = "float32",
        show: Callable[[str], None] = print,
    ) -> None:
        """Writes an .npz: `id`, `label`, the images of `adversarial` as `<name>/image`.

        As "uint8" images take a quarter of the room and other values: each pixel goes
        to the level next to it, or where it lies between two, to that on the side of
        the clean image, so that no lp ball is left if the clean image is uint8. Images
        are judged again as they are stored, and `show` is told how many still break:
        `<name>/fooled` [n] says which, and `<label>/size` [n] is their size, NaN for
        threats that do not measure it on two images.

        Raises:
          UsageError: the images were not kept, or the dtype is another one.
        """
        if dtype not in stored.DTYPES:
            allowed = ", ".join(stored.DTYPES)
            raise UsageError(f"images as {dtype!r}; allowed: {allowed}")
        arrays = dict(self.adversarial)
        found = {}
        if dtype == "uint8":
            arrays = {k: stored.levels(v, self.images) for k, v in arrays.items()}
            found = self._judged(arrays)
            for line in stored.told(found, self.table):
                show(line)
        columns = {k: self.table.columns[k] for k in ("id", "label")}
        if parallel.is_primary():
            images = {f"{name}/image": array for name, array in arrays.items()}
            stored.write(Path(path), columns | images | found)
            show(f"adversarial images: {escape.line(path)}")

    def _judged(self, arrays):
        threats: dict[str, Any] = {WORST: None}
        threats |= {p.label: p.attack.threat for p in self._suite.attacks}
        columns = self.table.columns
        key = jax.random.key(self._suite.seed)
        judge = stored.Again(self._model, self._suite, key)
        images, labels, ids = self.images, columns["label"], columns["id"]
        return judge(arrays, threats, images, labels, ids)

    def show(self) -> None:
        """Shows the table, in a notebook also the pictures of every attack."""
        if not _in_notebook():
            print(report.verdict(self.report))
            print(report.text(self.report))
            return
        from IPython.display import HTML, display  # type: ignore

        display(HTML(self._html([p.label for p in self._suite.attacks])))

    def _repr_html_(self) -> str:
        return self._html(metrics.strongest(self.table, 1))

    def _html(self, drawn):
        """The headline, the table, and pictures of the attacks `drawn`."""
        said, kind = headline.sentence(self.report), headline.kind(self.report)
        head, *rows = sheets.page_rows(self.report)
        notes = [f"- {escape.markdown(line)}" for line in report.notes(self.report)]
        suite = f"Suite {escape.code(self.report['suite'])}."
        lines = [suite, "", *cells.page_table(head, rows), "", *notes]
        drawn = drawn if plots.available() else ()
        pictures = [self._picture(p) for p in self._suite.attacks if p.label in drawn]
        return page.note(said, kind) + page.body("\n".join(lines)) + "".join(pictures)

    def _picture(self, planned):
        """The grid of one attack as an HTML image; empty where it attacked nothing."""
        if not len(self._outcome.pictures[planned.label].ids):
            return ""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "grid.png"
            drawing.grid(self._outcome, planned, self._suite, path, self._class_names)
            content = base64.b64encode(path.read_bytes()).decode()
        title = html.escape(f"images, {planned.label}")
        return f'<img alt="{title}" src="data:image/png;base64,{content}">'

    def __str__(self) -> str:
        robust = metrics.accuracy(metrics.robust(self.table, self.table.attacks))
        return (
            f"{self.report['suite']}: robust accuracy {100 * robust['accuracy']:.1f} % "
            f"({100 * robust['low']:.1f} to {100 * robust['high']:.1f}) of "
            f"{robust['n']} images, clean {100 * self.clean_accuracy:.1f} %; "
            f"{self.report['verdict']}"
        )

    __repr__ = __str__


def find(
    model: Any,
    suite: Suite,
    source: Any,
    workdir: Path | None,
    info: Mapping[str, Any],
    *,
    keep: bool,
    quiet: bool = False,
    progress: Callable[..., meters.Progress] = meters.Progress,
) -> Result:
    """Runs a suite; writes nothing but the journal, and without a workdir nothing.

    Args:
      model: a Classifier, or a tuple of them.
      suite: see `config.resolve`.
      source: the images; see `runner.run`.
      workdir: where the journal lies.
      info: see `jaxadv.evaluation.evaluate`.
      keep: the result has the images too.
      quiet: do not say that something compiles, or what begins.
      progress: makes the progress display of one attack.

    Raises:
      UsageError: as `runner.run`, or an attack called "worst" whose images are kept.
    """
    if keep and WORST in [planned.label for planned in suite.attacks]:
        raise UsageError(
            f"an attack is labelled {WORST!r}, which is what the worst images of all "
            "attacks are called; give it another label"
        )
    outcome = runner.run(
        model, suite, source, workdir, keep=keep, quiet=quiet, progress=progress
    )
    summary = metrics.summarize(outcome.table)
    known = {**info, "parameters": inputs.parameters(model)}
    content = report.build(summary, outcome, suite, known, jaxadv.__version__)
    names = getattr(source, "class_names", None)
    return Result(content, outcome.table, model, suite, outcome, summary, names)


def _make_room(folder, found):
    """Warns where the folder holds another result, and removes its images."""
    try:
        before = table.load(folder / "table.npz")
    except UsageError:
        return
    if before.metadata == found.metadata and len(before) == len(found):
        return
    warnings.warn(
        f"{folder} held the result of another network, suite or images; it is replaced",
        stacklevel=3,
    )
    for pattern in (*drawing.FILES, IMAGES):
        for path in folder.glob(pattern):
            path.unlink()


def _in_notebook():
    try:
        from IPython import get_ipython  # type: ignore
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
