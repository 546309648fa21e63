"""What docstrings say, by section."""

import inspect
import re
from typing import Any

_HEAD = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Examples?):")
_ENTRY = re.compile(r"(\*{0,2}[\w.]+(?:, [\w.]+)*): (.*)", re.DOTALL)


def first_sentence(thing: Any) -> str:
    """The first sentence of a docstring, without its line breaks."""
    paragraph = _text(thing).split("\n\n")[0]
    return re.split(r"(?<=[.])\s(?=[A-Z`])", " ".join(paragraph.split()))[0]


def entries(thing: Any, *heads: str) -> dict[str, str]:
    """Name -> sentence of the entries in the sections `heads`, as "Args"."""
    found = {}
    for head, lines in _sections(thing):
        if head in heads:
            for entry in _paragraphs(lines):
                if match := _ENTRY.match(entry):
                    found[match[1].lstrip("*")] = match[2]
    return found


def returns(thing: Any) -> str:
    """What the section "Returns" says, on one line."""
    for head, lines in _sections(thing):
        if head == "Returns":
            return " ".join(" ".join(lines).split())
    return ""


def attributes(make: Any) -> dict[str, str]:
    """Field -> sentence, of a class and of those that it comes from."""
    found: dict[str, str] = {}
    for cls in reversed(inspect.getmro(make) if inspect.isclass(make) else (make,)):
        found |= entries(cls, "Attributes", "Args")
    return found


def _sections(thing):
    """(head, lines) of a docstring, the lines without their first indent."""
    head, lines = "", []
    for line in _text(thing).splitlines():
        if match := _HEAD.fullmatch(line):
            yield head, lines
            head, lines = match[1], []
        elif head and line and not line.startswith(" "):
            yield head, lines
            head, lines = "", []
        else:
            lines.append(line[2:])
    yield head, lines


def _paragraphs(lines):
    """Entries, each on one line: what is indented continues the line above."""
    found: list[str] = []
    for line in lines:
        if line.startswith(" ") and found:
            found[-1] += " " + line.strip()
        elif line.strip():
            found.append(line.strip())
    return found


def _text(thing) -> str:
    own = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    return inspect.cleandoc(own or "")
