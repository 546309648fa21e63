"""A Markdown report as one HTML page that opens without a network."""

import base64
import html
import re
from pathlib import Path

import markdown

from jaxadv.evaluation.report.style import STYLE
from jaxadv.evaluation.writing import escape

# Whatever a name may hold, the page runs no script and loads nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_PICTURE = re.compile(r'src="([^":/\\]+\.png)"')
_FIGURE = re.compile(r"<p>(<img [^>]*>)</p>")
_HEADLINE = re.compile(r"<p><strong>(.*?)</strong></p>")
_VERDICT = re.compile(r"<td([^>]*)>(ok|warn|fail|not run)</td>")
_CLASSES = {"not run": "skipped"}
# What is too wide scrolls by itself, also by keys, and leaves the page as it is.
_SCROLL = 'role="region" tabindex="0" style="overflow-x: auto"'
# In a notebook, which has its own colors: a bar beside words.
_BARS = {"sound": "#1a8f5f", "unsound": "#d0342c", "unchecked": "#777777"}


def body(text: str) -> str:
    """Markdown `text` as HTML without a head; its tables scroll by themselves."""
    content = markdown.markdown(text, extensions=["tables", "sane_lists"])
    content = content.replace(
        "<table>", f'<div class="scroll" aria-label="table" {_SCROLL}><table>'
    )
    return content.replace("</table>", "</table></div>")


def note(text: str, kind: str) -> str:
    """A headline for a notebook: words beside a bar in the color of the verdict."""
    bar = f"border-left: 0.4rem solid {_BARS[kind]}; padding: 0.2rem 0.8rem"
    return f'<p style="{bar}"><strong>{html.escape(escape.line(text))}</strong></p>'


def page(text: str, folder: Path, kind: str = "unchecked") -> str:
    """Markdown `text` as HTML, the PNG pictures of `folder` that it names inside it.

    Its first bold paragraph is the headline, in the color of `kind`: "sound",
    "unsound" or "unchecked". The verdicts of checks in tables are colored too.
    """
    content = body(text)
    title = html.escape(escape.unmarked(text.partition("\n")[0].lstrip("# ")))
    content = _HEADLINE.sub(lambda m: _headline(m[1], kind), content, count=1)
    content = _VERDICT.sub(_colored, content)
    content = _FIGURE.sub(
        rf'<div class="picture" aria-label="picture" {_SCROLL}>\1</div>', content
    )

    def inside(match):
        data = (folder / html.unescape(match[1])).read_bytes()
        return f'src="data:image/png;base64,{base64.b64encode(data).decode()}"'

    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n"
        f"<body>\n<main>\n{_PICTURE.sub(inside, content)}\n</main>\n</body></html>\n"
    )


def _headline(words, kind):
    """Its numbers stay beside their units where a line breaks."""
    whole = words.replace(" %", "&nbsp;%").replace("n = ", "n&nbsp;=&nbsp;")
    return f'<p class="headline {kind}"><strong>{whole}</strong></p>'


def _colored(match):
    kind = _CLASSES.get(match[2], match[2])
    return f'<td{match[1]} class="{kind}">{match[2]}</td>'
