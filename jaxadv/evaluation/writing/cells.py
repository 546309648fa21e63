"""Tables of text cells: aligned for a terminal, in Markdown, numbers in percent."""

import math
from collections.abc import Sequence

from jaxadv.evaluation.writing import escape


def percent(fraction: float) -> str:
    """A fraction as percent with two decimals, without the sign."""
    return f"{100 * fraction:.2f}"


PENALIZED = "penalized"  # in the place of an eps where there is none
_PIXELS = ("linf", "l2", "l1")  # norms of changes of pixels in [0, 1]


def budget(eps: float, threat: str) -> str:
    """A budget as people write it: 8/255 for a multiple of 1/255 in an lp ball.

    Tenths and whole numbers stay decimal, as 0.2, which is 51/255, and so does every
    eps of a threat with another unit. `threat` is its registry name. An infinite one is
    no budget: the attack pays for the size of what it does.
    """
    eps = float(eps)
    if math.isinf(eps):
        return PENALIZED
    if threat in _PIXELS:
        levels, tenths = 255 * eps, 10 * eps
        decimal = abs(tenths - round(tenths)) < 1e-6
        if not decimal and abs(levels - round(levels)) < 1e-4 * min(levels, 1):
            return f"{round(levels)}/255"
    return f"{eps:.4g}"


def bound(eps: float, threat: str) -> str:
    """A budget with its name: "eps 8/255", or "penalized" where there is none."""
    words = budget(eps, threat)
    return words if words == PENALIZED else f"eps {words}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """One sentence part of several: "a, b and c"."""
    *first, final = words
    return f"{', '.join(first)} {last} {final}" if first else final


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table of cells, the first column to the left."""
    table = [[escape.line(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *others in table:
        cells = [first.ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def page_table(
    head: Sequence[str], cells: Sequence[Sequence[str]], first: str = "---"
) -> list[str]:
    """Lines of a Markdown table, all columns but the first to the right."""
    rule = [first] + ["---:"] * (len(head) - 1)
    return [markdown_row(head), markdown_row(rule), *map(markdown_row, cells)]


def markdown_row(cells: Sequence[str]) -> str:
    """One row of a Markdown table; every cell is shown as it is."""
    return written_row(list(map(escape.markdown, cells)))


def written_row(cells: Sequence[str]) -> str:
    """One row of cells that are Markdown already."""
    return "| " + " | ".join(cells) + " |"
