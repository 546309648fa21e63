"""Evaluation: suites of attacks, the per-example table, metrics, report, plots."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxadv import parallel
from jaxadv.evaluation import metrics, report, result, table
from jaxadv.evaluation.run import meters
from jaxadv.evaluation.suite import config

__all__ = ["config", "evaluate", "metrics", "report", "table"]


def evaluate(
    model: Any,
    source: Any,
    suite_config: Any,
    workdir: str | Path,
    *,
    info: Mapping[str, Any] | None = None,
    save_images: str | None = None,
    show: Callable[[str], None] = print,
    progress: Callable[..., meters.Progress] = meters.Progress,
) -> dict[str, Any]:
    """Runs a suite and writes table, report and pictures; the same call resumes.

    Args:
      model: a Classifier.
      source: the images; see `suite.run`.
      suite_config: a ConfigDict or mapping (see `jaxadv.evaluation.suite.config`),
        or the Suite that it is resolved to.
      workdir: gets `table.npz`, `report.json`, `.md`, `.html` and `.csv`, the other
        CSV files of `sheets.files`, `curve_*.png`, `distances.png`, `overlap.png`,
        `pictures_*.png` and the journal.
      info: what is known of the model: `name`, `architecture`, `checkpoint` and
        `training`, its training config; each optional.
      save_images: "float32" or "uint8" writes `adversarial.npz` too; see
        `Result.save_images`.
      show: prints the verdict of the checks, the table and where the files lie.
      progress: makes the progress display of one attack.

    Returns:
      The report; see `report.build`.

    Raises:
      UsageError: a bad config, a workdir in use, images or labels that do not fit
        the model, or logits that are not numbers. Nothing but the journal is written
        then.
    """
    info = dict(info or {})
    plan = suite_config
    if not isinstance(plan, config.Suite):
        plan = config.resolve(suite_config, info.get("training"))
    workdir = Path(workdir)
    with parallel.held(workdir):
        found = result.find(
            model,
            plan,
            source,
            workdir,
            info,
            keep=bool(save_images),
            progress=progress,
        )
        if parallel.is_primary():
            found.write(workdir, show, meters.Stage)
        if save_images:
            found.save_images(workdir / result.IMAGES, save_images, show)
    return found.report
