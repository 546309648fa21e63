"""Tables of text cells: aligned for a terminal, in Markdown, numbers in percent."""

from collections.abc import Sequence

from jaxadv.evaluation.writing import escape


def percent(fraction: float) -> str:
    """A fraction as percent with two decimals, without the sign."""
    return f"{100 * fraction:.2f}"


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
    return "| " + " | ".join(map(escape.markdown, cells)) + " |"
