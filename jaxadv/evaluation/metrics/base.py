"""What a metric is: a number of the table, and how it is told."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jaxadv.evaluation.table import Table, threat_name
from jaxadv.evaluation.writing.cells import percent

Rows = Sequence[Sequence[Any]]  # of cells, the header first


def nothing(report: Mapping[str, Any]) -> Any:
    """No rows, words, sections or CSV file."""
    return ()


@dataclasses.dataclass(frozen=True)
class Section:
    """A table of its own on the page.

    Attributes:
      title: above it.
      rows: of text cells, the header first.
      before: Markdown lines between title and table.
      about: a paragraph of Markdown below it.
      printed: its rows on a terminal; None: it is on the page alone.
      numbers: the first column has numbers too.
    """

    title: str
    rows: Rows
    before: Sequence[str] = ()
    about: str = ""
    printed: Rows | None = None
    numbers: bool = False


@dataclasses.dataclass(frozen=True)
class Metric:
    """One thing that is computed from a per-example table, and how it is told.

    A metric is one of these in a file of its own, and a line in `METRICS`. What tells
    of it is given the whole report (see `report.build`), where its value stands under
    its name, and yields nothing where there is nothing to tell.

    Attributes:
      name: its key in `summarize` and in report.json.
      compute: table -> plain JSON, fractions; None: it tells of what others found.
      needs: a column without which a table has nothing to compute it from, and a report
        no entry of it, or a function that says so of a table; "": every table has.
      rows: of the main table, each column -> cell, see `ROW`; "attack" is the title.
      words: Markdown sentences of the paragraph below the main table.
      sections: tables of their own.
      csv: rows of cells of a CSV file, the header first; no file without a second row.
      file: the name of that file without ".csv"; "": the metric's.
      about: a line on what it is.
    """

    name: str
    compute: Callable[[Table], Any] | None
    rows: Callable[[Mapping[str, Any]], Iterable[Mapping[str, str]]] = nothing
    words: Callable[[Mapping[str, Any]], Iterable[str]] = nothing
    sections: Callable[[Mapping[str, Any]], Iterable[Section]] = nothing
    csv: Callable[[Mapping[str, Any]], Rows] = nothing
    file: str = ""
    about: str = ""
    needs: str | Callable[[Table], bool] = ""

    def applies(self, table: Table) -> bool:
        """Whether a table has what the metric needs."""
        if callable(self.needs):
            return self.needs(table)
        return not self.needs or self.needs in table.columns


# The columns of a row of the main table; what a row lacks is a dash. On the page the
# norm is shown too, and the budget, which is eps as 8/255, in the place of eps.
ROW = (
    "attack",
    "eps",
    "accuracy %",
    "n",
    "95 % interval",
    "steps",
    "seconds",
    "passes/image",
    "largest size",
)
POINT = ("eps", "accuracy %", "n", "low %", "high %")  # of a CSV file


def share(found: Mapping[str, Any]) -> dict[str, str]:
    """The cells of an `accuracy`."""
    interval = f"{percent(found['low'])} - {percent(found['high'])}"
    cells = percent(found["accuracy"]), str(found["n"]), interval
    return dict(zip(ROW[2:5], cells, strict=True))


def seconds(found: Mapping[str, Any]) -> str:
    """Of all runs that made the results; - where an earlier one did not keep them."""
    fresh = None if found.get("resumed") else found["seconds"]
    measured = found.get("measured_seconds", fresh)
    return "-" if measured is None else f"{measured:.1f}"


def point(found: Mapping[str, Any]) -> tuple[Any, ...]:
    """The cells of `POINT`."""
    accuracy, low, high = (percent(found[key]) for key in ("accuracy", "low", "high"))
    return found["eps"], accuracy, found["n"], low, high


def threat(attack: Mapping[str, Any]) -> str:
    """The registry name of an attack's threat, which in an lp ball is its norm."""
    return threat_name(attack.get("spec") or {}) or "unknown threat"
