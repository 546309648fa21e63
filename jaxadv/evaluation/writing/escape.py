"""Names that others have chosen, as text that is only shown and never acts.

A run's folder, a label, a class or a column may hold HTML, Markdown, a formula of a
spreadsheet, TeX or the control codes of a terminal.
"""

import html
import re
import unicodedata
from typing import Any

# Turn the order of what follows them, and are not seen.
_TURNING = frozenset(
    map(chr, (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)
_MARKUP = re.compile(
    r"[&<>|`*\[\]\\~$#@]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word it is no emphasis
    r"|:(?=//)|(?<=www)\.",  # what some viewers make a link
    re.IGNORECASE,
)
_ITEM = re.compile(r"^(\d*)([-+.)])(?=\s)")  # would begin an item of a list
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_PLAIN = re.compile(r"[\w/.+=,-]+(?: [\w/.+=,-]+)*", re.ASCII)


def line(text: Any) -> str:
    """`text` as one line without control characters, which become a replacement."""
    return "".join(map(_shown, str(text)))


def _shown(character):
    if character.isspace():
        return " "
    hidden = unicodedata.category(character) in ("Cc", "Cs") or character in _TURNING
    return "\N{REPLACEMENT CHARACTER}" if hidden else character


def markdown(text: Any) -> str:
    """`text` inside a line or a table cell of Markdown, all of it literal.

    What would act is written as an HTML entity, which every viewer shows and none
    takes for markup.
    """
    inside = _MARKUP.sub(lambda m: _entity(m[0]), line(text).lstrip())
    return _ITEM.sub(lambda m: m[1] + _entity(m[2]), inside)


def _entity(character):
    return _ENTITIES.get(character, f"&#{ord(character)};")


def code(text: Any) -> str:
    """`text` in Markdown's typewriter font, or plainly where it could leave it."""
    return f"`{text}`" if _PLAIN.fullmatch(str(text)) else markdown(text)


def unmarked(text: str) -> str:
    """What a reader sees of a line that `markdown` has made."""
    return html.unescape(text)


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet calculates: a text like a formula is led by '.

    Numbers and a lone dash are left alone.
    """
    if not isinstance(value, str):
        return value
    text = line(value)
    if text.lstrip()[:1] in ("=", "+", "-", "@") and text != "-" and not _number(text):
        return f"'{text}"
    return text


def _number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def drawn(text: Any) -> str:
    """`text` in a picture: no TeX, and no leading underscore, which hides it from
    legends; line breaks are kept."""
    lines = (line(part).replace("$", r"\$") for part in str(text).split("\n"))
    text = "\n".join(lines)
    return f" {text}" if text.startswith("_") else text
