"""The pages of the documentation, and what stands in them."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.paths import ROOT

DOCS = ROOT / "docs"
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(DOCS.rglob("*.md")),
    *sorted(ROOT.glob("configs/*/README.md")),
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
# A module alone, as `python -m benchmarks.kills`, is the name of a command.
_COMMAND = re.compile(
    r"python (train|eval)\.py .|python -m (jaxadv|benchmarks)\S* .|jaxadv \w+ ."
)
_CODE = re.compile(r"`([^`\n]+)`")


class Parsed(BaseException):
    """A command line was understood; what it asks for is not done."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language, "" for those without."""
    return [text for kind, text in _FENCE.findall(_text(path)) if kind == language]


def links(path: Path) -> list[str]:
    """What a page links to, within the repository and within the page."""
    found = _LINK.findall(_FENCE.sub("", _text(path)))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def codes(path: Path) -> list[str]:
    """The spans of code in the prose and the tables of a page."""
    return _CODE.findall(_FENCE.sub("", _text(path)))


def anchors(path: Path) -> set[str]:
    """The headings of a page as links to them."""
    heads = re.findall(r"^#+ (.+)$", _FENCE.sub("", _text(path)), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", head.lower()) for head in heads]
    return {head.replace(" ", "-") for head in kept}


def commands(path: Path) -> Iterator[str]:
    """Every command line of ours, joined where it is continued."""
    lines = [line for text in blocks(path, "") for line in _joined(text)]
    for line in [*lines, *codes(path)]:
        line = re.sub(r"^\S*srun |^\S*\$ ", "", line.split(" #")[0].strip())
        if _COMMAND.match(line):
            yield re.sub(r"\$\w+", "runs", line.replace("…", "")).strip()


def _joined(text):
    return re.sub(r"\\\n\s*", "", text).splitlines()


def _text(path):
    return path.read_text(encoding="utf-8")
