"""Files of results, each written whole or not at all."""

import csv
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxadv.evaluation.writing import escape
from jaxadv.files import storage


def write(path: Path, text: str) -> None:
    """Replaces the file by UTF-8 `text`, making its folder where it is missing."""
    with storage.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes JSON that any reader takes: numbers that are not finite become strings."""
    text = json.dumps(finite(content), indent=2, allow_nan=False)
    write(path, text + "\n")


def write_csv(path: Path, cells: Iterable[Iterable[Any]]) -> None:
    """Writes rows of cells, the header first; see `escape.csv_cell`."""
    lines = io.StringIO()
    rows = ([escape.csv_cell(cell) for cell in row] for row in cells)
    csv.writer(lines, lineterminator="\n").writerows(rows)
    write(path, lines.getvalue())


def finite(content: Any) -> Any:
    """`content` as `write_json` writes it: what is not finite is a text."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    return content
