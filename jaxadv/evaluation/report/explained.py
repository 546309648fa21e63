"""The checks on a page: what each found, and one table that explains them all."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxadv.evaluation import checks
from jaxadv.evaluation.writing.cells import listed, written_row
from jaxadv.evaluation.writing.escape import markdown as shown

TABLE = "checks-explained"  # the anchor of the table
_IDS = {check.id for check in checks.CHECKS}
_ID = re.compile(r"\bR\d+\b")
_HEAD = ("id", "check", "looks at", "what it means", "what to do")
_FULL = " (full)"


def linked(text: str) -> str:
    """Markdown of `text`, in which each id of a check leads to what explains it."""
    return _ID.sub(lambda m: _link(m[0]), shown(text))


def _link(name):
    return f"[{name}](#{_anchor(name)})" if name in _IDS else name


def _anchor(name):
    return f"check-{name.lower()}"


def findings(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of the table of what the checks of an evaluation have found."""
    fields = ("id", "name", "verdict", "evidence")
    rows = [
        (
            linked(finding["id"]),
            shown(finding["name"]),
            shown(finding["verdict"]),
            linked(finding["evidence"]),
        )
        for finding in found
    ]
    return list(map(written_row, [fields, ["---"] * len(fields), *rows]))


def table() -> list[str]:
    """Lines of the table of all declared checks, and what they leave open below."""
    rows = [
        (
            f'<a id="{_anchor(check.id)}"></a>{check.id}',
            shown(check.name) + _FULL * (check.level == "full"),
            linked(check.looks),
            _meaning(check),
            linked(check.todo),
        )
        for check in checks.CHECKS
    ]
    lines = list(map(written_row, [_HEAD, ["---"] * len(_HEAD), *rows]))
    about = "Checks that are called full run with `--checks=full`, the others always."
    skipped = checks.skipped()
    if skipped:
        about += (
            f" The numbers are names; {listed(skipped)} were skipped: no check has "
            "them, and none is missing here."
        )
    return [*lines, "", about]


def _meaning(check):
    parts = (("fail", check.means), ("warn", check.warns))
    told = [f"**{kind}:** {linked(words)}" for kind, words in parts if words]
    return "<br>".join(told)
