"""The table of a sweep: a row a point, means and deviations over the seeds."""

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxadv.evaluation import metrics
from jaxadv.evaluation.table import Table
from jaxadv.evaluation.writing import files
from jaxadv.evaluation.writing.cells import percent
from jaxadv.sweep.plans import Combination

WORST = "worst case"
_UNKNOWN = "–"


@dataclasses.dataclass(frozen=True)
class Column:
    """One accuracy of a point.

    Attributes:
      values: seed -> accuracy, a fraction.
      eps: the attack's budget; None where there is no attack, or no value.
    """

    values: dict[int, float]
    eps: float | None = None

    @property
    def mean(self) -> float | None:
        """Over the seeds; None without any."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation, with n - 1; None below two seeds."""
        several = len(self.values) > 1
        return statistics.stdev(self.values.values()) if several else None


@dataclasses.dataclass(frozen=True)
class Row:
    """One point.

    Attributes:
      point: path -> value as it was written.
      seeds: how many there are to be.
      finished: those that have been judged, each with its folder.
      unsound: folders of the finished ones whose checks have failed.
      columns: (title, accuracies): clean, the attacks in order, the worst case.
    """

    point: dict[str, str]
    seeds: int
    finished: dict[int, str]
    unsound: tuple[str, ...]
    columns: tuple[tuple[str, Column], ...]


def rows(
    combinations: Sequence[Combination],
    judged: Callable[[Combination], Table | None],
    read: Callable[[Combination], Mapping[str, Any]],
) -> list[Row]:
    """One row a point, in order.

    Args:
      combinations: those of one point one behind the other.
      judged: a combination's table, None where it is not finished.
      read: the report beside it.
    """
    groups = itertools.groupby(combinations, key=lambda one: one.point)
    return [_row(point, list(some), judged, read) for point, some in groups]


def _row(point, some, judged, read):
    tables = {one.seed: (one, judged(one)) for one in some}
    found = {k: (one, table) for k, (one, table) in tables.items() if table is not None}
    columns = []
    for label in (None, *(planned.label for planned in some[0].suite.attacks), WORST):
        values = {k: _accuracy(table, label) for k, (_, table) in found.items()}
        budgets = [t.metadata["attacks"].get(label) for _, t in found.values()]
        eps = budgets[0]["eps"] if budgets and budgets[0] else None
        columns.append((label or "clean", Column(values, eps)))
    return Row(
        point=point,
        seeds=len(some),
        finished={k: str(one.folder) for k, (one, _) in found.items()},
        unsound=tuple(
            str(one.folder) for one, _ in found.values() if read(one).get("unreliable")
        ),
        columns=tuple(columns),
    )


def _accuracy(table, label):
    """Of the clean images (None), under one attack, or under all (`WORST`)."""
    if label is None:
        correct = metrics.clean_correct(table)
    else:  # no label has a space
        labels = table.attacks if label == WORST else [label]
        correct = metrics.robust(table, labels)
    return metrics.accuracy(correct)["accuracy"]


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table as text, header first; accuracies in percent, mean ± deviation."""
    titles, differing = [title for title, _ in rows[0].columns], _differing(rows)
    found = [(*(rows[0].point or ("run",)), *titles, "seeds")]
    for row in rows:
        values = [_cell(column, i in differing) for i, (_, column) in _numbered(row)]
        count = f"{len(row.finished)}/{row.seeds}"
        found.append((*(row.point.values() or ("all",)), *values, count))
    return found


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the table must know."""
    titles = [rows[0].columns[i][0] for i in _differing(rows)]
    found = []
    if titles:
        found.append(
            f"{', '.join(titles)}: the budget is that of each training, so rows are "
            "not judged alike; --suite.eps=VALUE judges all at one"
        )
    for row in rows:
        found += [f"{folder}: not sound, see its report" for folder in row.unsound]
    return found


def write(rows: Sequence[Row], about: Mapping[str, Any], root: Path) -> list[Path]:
    """Writes `sweep.csv`, in percent, and `sweep.json`, with each seed's fractions.

    `about` is written too. Returns the paths.
    """
    paths = [root / "sweep.csv", root / "sweep.json"]
    files.write_csv(paths[0], _csv(rows))
    files.write_json(paths[1], {**about, "rows": [_plain(row) for row in rows]})
    return paths


def _csv(rows) -> Iterator[list[Any]]:
    head: list[str] = list(rows[0].point)
    for title, _ in rows[0].columns:
        head += [title, f"{title} deviation"]
    budgets = [title for title, _ in rows[0].columns[1:-1]]
    yield [*head, "seeds", *(f"{title} eps" for title in budgets)]
    for row in rows:
        line: list[Any] = list(row.point.values())
        for _, column in row.columns:
            both = column.mean, column.deviation
            line += ["" if value is None else percent(value) for value in both]
        eps = (column.eps for _, column in row.columns[1:-1])
        yield [*line, len(row.finished), *("" if v is None else v for v in eps)]


def _plain(row):
    def one(column):
        found = {"mean": column.mean, "deviation": column.deviation}
        return {**found, "eps": column.eps, "values": column.values}

    (_, clean), *attacks, (_, worst) = row.columns
    return {
        "point": row.point,
        "seeds": row.seeds,
        "finished": row.finished,
        "unsound": list(row.unsound),
        "clean": one(clean),
        "attacks": {title: one(column) for title, column in attacks},
        "worst_case": one(worst),
    }


def _numbered(row):
    return enumerate(row.columns)


def _differing(rows):
    """The places of the attacks whose budgets are not the same in all rows."""
    eps = [[column.eps for _, column in row.columns] for row in rows]
    several = [set(some) - {None} for some in zip(*eps, strict=True)]
    return [i for i, some in enumerate(several) if len(some) > 1]


def _cell(column, budget):
    if column.mean is None:
        return _UNKNOWN
    spread = _UNKNOWN if column.deviation is None else percent(column.deviation)
    at = f" (eps {column.eps:.4g})" if budget else ""
    return f"{percent(column.mean)} ± {spread}{at}"
