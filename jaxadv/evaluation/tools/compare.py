"""Sets runs side by side.

Reads reports, or every report of a run's folder, and writes `compare.html`,
`compare.md`, `compare.csv` and `compare.png`, clean accuracy against union accuracy.
Fields of the training configs and of the suites that are not the same for all have
columns, and so do what the checks say, UAR of the suite's sweeps, and how near each
network is to the best of them (`competitiveness`).

    python -m jaxadv.evaluation.tools.compare --output runs/all runs/pat runs/at_linf
    python -m jaxadv.evaluation.tools.compare --output out runs/*/eval/linf/report.json
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxadv import console
from jaxadv.evaluation import metrics
from jaxadv.evaluation.report import charts, page
from jaxadv.evaluation.tools import competitiveness, differences
from jaxadv.evaluation.writing import escape, files
from jaxadv.evaluation.writing.cells import PENALIZED, aligned, page_table, percent
from jaxadv.files import storage
from jaxadv.specs import UsageError

_KINDS = ("seen", "unseen")
_KEYS = ("dataset", "split", "suite", "examples", "clean", "attacks", "unions", "seen")


def compare(
    paths: Sequence[str | Path],
    output: str | Path,
    union: str = "union",
    specialists: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Writes table and picture of the runs; returns the rows of the table.

    Runs share a panel of the picture where data set, split and the attacks of the
    union, with their budgets, are the same: others cannot be compared.

    Args:
      paths: report.json files, or folders of runs with `eval/*/report.json`.
      output: the folder to write into.
      union: which union of the reports is drawn.
      specialists: JSON file, label of an attack -> accuracy of the network that was
        trained against it alone, which competitiveness is measured by. None: the best
        of the runs of the same panel, where there are several.

    Returns:
      One dictionary a report: `name`, `suite`, `dataset`, `split`, `n`, `clean`,
      `attacks` (label -> accuracy, a dictionary with its interval), `union`,
      `seen_mean` and `unseen_mean`, as fractions, what those are means of,
      `seen_attacks` and `unseen_attacks`, `verdict` of the checks, `uar`, sweep ->
      UAR, `ratios` (`competitiveness.Ratios` or None), and `differs`, field -> value as
      text.

    Raises:
      UsageError: no reports, a damaged one, or one without the union.
    """
    storage.check_folder(output, "--output")
    found = [path for given in paths for path in _reports(Path(given))]
    rows = [_row(path, union) for path in dict.fromkeys(found)]
    if not rows:
        raise UsageError("compare: no reports given; name runs or report.json files")
    _tell_apart(rows)
    _set_apart(rows)
    labels = list(dict.fromkeys(label for row in rows for label in row["attacks"]))
    output = Path(output)
    panels: dict[str, list] = {}
    for row in rows:
        panels.setdefault(_panel(row, union), []).append(row)
    given = specialists and competitiveness.read(specialists)
    for some in panels.values():
        _rate(some, given)
    charts.tradeoff(panels, output / "compare.png")
    files.write_csv(output / "compare.csv", _csv(rows, labels))
    text = _page(rows, labels, panels, specialists)
    files.write(output / "compare.md", text)
    files.write(output / "compare.html", page.page(text, output))
    return rows


def _rate(rows, specialists):
    """Adds how competitive the runs of one panel are."""
    found = [{k: a["accuracy"] for k, a in row["attacks"].items()} for row in rows]
    if specialists is None and len(rows) > 1:
        specialists = competitiveness.best(found)
    for row, own in zip(rows, found, strict=True):
        row["ratios"] = competitiveness.ratios(own, specialists or {})


def _reports(path):
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"compare: there is no run or report {str(path)!r}")
    here = path / "report.json"
    found = [here] if here.is_file() else sorted(path.glob("eval/*/report.json"))
    if not found:
        raise UsageError(
            f"compare: {path} has no report.json and no eval/*/report.json; run "
            f"jaxadv eval --checkpoint={path} first"
        )
    return found


def _row(path, union):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in _KEYS if key not in content]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"compare: {path}: no report ({error})") from None
    if missing:
        raise UsageError(
            f"compare: {path}: no report of eval.py, the key {missing[0]!r} is missing"
        )
    try:
        row = _entries(content, path, union)
        # Whether it can be shown: nothing is written of the others then.
        _cells([row], list(row["attacks"]))
        _panel(row, union)
    except UsageError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"compare: {path}: no report of eval.py ({type(error).__name__}: {error})"
        ) from None
    return row


def _entries(content, path, union):
    if union not in content["unions"]:
        known = ", ".join(content["unions"]) or "none"
        raise UsageError(
            f"compare: {path} has no union {union!r}; unions: {known}; give --union"
        )
    seen = content["seen"]
    whole = metrics.mean_labels({**content, "means": None})
    return {
        "name": str(content.get("name") or path.parent.name),
        "path": path,
        "suite": content["suite"],
        "dataset": content["dataset"],
        "split": content["split"],
        "n": content["examples"],
        "clean": content["clean"],
        "attacks": content["attacks"],
        "union": content["unions"][union],
        "seen_mean": content.get("seen_mean"),
        "unseen_mean": content.get("unseen_mean"),
        "seen_attacks": [k for k in whole if k in seen],
        "unseen_attacks": [k for k in metrics.mean_labels(content) if k not in seen],
        "verdict": str(content.get("verdict", "not checked")).partition(":")[0],
        "uar": {
            name: sweep["uar"]
            for name, sweep in (content.get("sweeps") or {}).items()
            if sweep["uar"] is not None
        },
        "ratios": None,
        "fields": differences.fields(content),
        "differs": {},
    }


def _tell_apart(rows):
    """Adds the suite, then the path, to names that are not unique."""
    for extra in ("suite", "path"):
        names = [row["name"] for row in rows]
        for row, name in zip(rows, names, strict=True):
            if names.count(name) > 1:
                row["name"] = f"{name} ({row[extra]})"


def _set_apart(rows):
    """Adds what differs between the rows."""
    found = differences.differing([row.pop("fields") for row in rows])
    for i, row in enumerate(rows):
        row["differs"] = {path: values[i] for path, values in found.items()}


def _panel(row, union):
    eps = {k: row["attacks"][k]["eps"] for k in row["union"]["attacks"]}
    # JSON has no infinity: a report says it in words.
    infinite = {"inf", float("inf")}
    parts = [
        f"{k} {PENALIZED if e in infinite else f'{e:.4g}'}" for k, e in eps.items()
    ]
    return f"{row['dataset']} {row['split']}: {union} of {', '.join(parts)}"


def _accuracies(row, labels):
    """Column -> accuracy with interval, or None where the run has none."""
    attacks = {label: row["attacks"].get(label) for label in labels}
    return {"clean": row["clean"], **attacks, "union": row["union"]}


def _means(row):
    """Of seen and of unseen attacks: the mean, or None, and the attacks."""
    return [(row[f"{kind}_mean"], row[f"{kind}_attacks"]) for kind in _KINDS]


def _mean(value, labels):
    if value is None:
        return "-"
    return percent(value) + (f" ({labels[0]} alone)" if len(labels) == 1 else "")


def _more(rows):
    """Further columns, title -> cell of each row, where any row has them."""
    sweeps = dict.fromkeys(name for row in rows for name in row["uar"])
    columns = {
        f"UAR {name}": [_number(row["uar"].get(name)) for row in rows]
        for name in sweeps
    }
    if any(row["ratios"] for row in rows):
        found = [row["ratios"] for row in rows]
        columns["CR mean"] = [_number(one and one.mean) for one in found]
        columns["CR worst"] = [_number(one and one.worst) for one in found]
        columns["CR worst of"] = [one.attack if one else "-" for one in found]
    return columns | {"checks": [row["verdict"] for row in rows]}


def _number(fraction):
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def _csv(rows, labels):
    """Percent, with the ends of the Wilson interval after each accuracy."""
    columns = ("clean", *labels, "union")
    ends = [f"{name}{end}" for name in columns for end in ("", " low", " high")]
    means = [f"{kind} mean" for kind in _KINDS]
    counts = [f"{kind} attacks" for kind in _KINDS]
    # The suite has a column already.
    fields = [field for field in rows[0]["differs"] if field != "suite"]
    head = ["run", "suite", "dataset", "split", "n"]
    more = _more(rows)
    yield [*head, *fields, *ends, *more, *means, *counts]
    for i, row in enumerate(rows):
        cells = [row[key] for key in ("name", "suite", "dataset", "split", "n")]
        cells += [row["differs"][field] for field in fields]
        for found in _accuracies(row, labels).values():
            keys = ("accuracy", "low", "high")
            cells += [percent(found[k]) if found else "" for k in keys]
        cells += ["" if column[i] == "-" else column[i] for column in more.values()]
        cells += ["" if mean is None else percent(mean) for mean, _ in _means(row)]
        yield [*cells, *(len(labels) for _, labels in _means(row))]


def _cells(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]):
    columns = ("clean", *labels, "union", "seen mean", "unseen mean")
    differs = list(rows[0]["differs"])
    more = _more(rows)
    cells: list[tuple[str, ...]] = [("run", *differs, "data", "n", *columns, *more)]
    for i, row in enumerate(rows):
        accuracies = [
            f"{percent(a['accuracy'])} ({percent(a['low'])} - {percent(a['high'])})"
            if a
            else "-"
            for a in _accuracies(row, labels).values()
        ]
        means = [_mean(*found) for found in _means(row)]
        data = f"{row['dataset']} {row['split']}"
        own = (row["name"], *row["differs"].values())
        last = [column[i] for column in more.values()]
        cells.append((*own, data, str(row["n"]), *accuracies, *means, *last))
    return cells


def _page(rows, labels, panels, specialists):
    head, *cells = _cells(rows, labels)
    unions = escape.markdown("; ".join(panels))
    lines = [
        "# Runs compared",
        "",
        *page_table(head, cells),
        "",
        *_differences(rows),
        "Accuracies in percent with their Wilson 95 % intervals. Means are over the "
        "attacks that training has seen, or has not, and say where that is one attack "
        "alone. Unions are comparable only where "
        f"they take the same attacks: {unions}.",
        "",
        *_competing(rows, specialists),
        "![clean accuracy against union accuracy](compare.png)",
    ]
    return "\n".join(lines) + "\n"


def _competing(rows, specialists):
    if not any(row["ratios"] for row in rows):
        return []
    whom = (
        f"the networks of {escape.markdown(str(specialists))}"
        if specialists
        else "the best of the runs of the same union, attack by attack"
    )
    return [
        f"CR is the accuracy under an attack over that of {whom}, times 100: its mean "
        "over the attacks, the least, and of which attack that is (Dai et al., "
        "MultiRobustBench, 2023, where each network of the denominator was trained "
        "against that attack alone).",
        "",
    ]


def _differences(rows):
    if not rows[0]["differs"]:
        return []
    return [
        "Columns before the data are the fields of the training configs, and of the "
        "suites, that are not the same for all.",
        "",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, 2 for a user's mistake."""
    parser = console.Parser(
        prog="jaxadv compare",
        description="Sets the evaluations of several runs side by side.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN_OR_REPORT")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--union", default="union", help="which one (default: union)")
    parser.add_argument(
        "--specialists",
        metavar="JSON",
        help="label of an attack -> accuracy of the network trained against it alone, "
        "for CR (default: the best of the runs)",
    )
    flags = parser.parse_args(arguments)

    def work():
        rows = compare(flags.runs, flags.output, flags.union, flags.specialists)
        labels = list(dict.fromkeys(label for row in rows for label in row["attacks"]))
        cells = _cells(rows, labels)
        either = [aligned(cells)]
        if len(rows) > 1:
            either.append(aligned([*zip(*cells, strict=True)]))
        print("\n".join(min(either, key=lambda lines: max(map(len, lines)))))
        for file in ("compare.html", "compare.md", "compare.csv", "compare.png"):
            print(f"{Path(flags.output) / file}")

    return console.conclude(work)


if __name__ == "__main__":
    sys.exit(main())
