"""A Markdown report as one HTML page that opens without a network."""

import base64
import html
import re
from pathlib import Path

import markdown

from jaxadv.evaluation.writing import escape

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.7rem; }
img { max-width: 100%; }
code { background: #f3f3f3; padding: 0 0.2rem; }
.sound, .ok { color: #00694b; }
.warn { color: #8a5a00; }
.unsound, .fail { color: #b3261e; }
.sound, .unsound { border-left: 0.4rem solid; padding: 0.4rem 0.8rem; }
.sound { background: #e6f4ee; }
.unsound { background: #fbe9e7; }
.ok, .warn, .fail { font-weight: 600; }
"""
# Whatever a name may hold, the page runs no script and loads nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_PICTURE = re.compile(r'src="([^":/\\]+\.png)"')
_VERDICT = re.compile(r"<td([^>]*)>(ok|warn|fail)</td>")


def body(text: str) -> str:
    """Markdown `text` as HTML without a head."""
    return markdown.markdown(text, extensions=["tables", "sane_lists"])


def page(text: str, folder: Path, sound: bool | None = None) -> str:
    """Markdown `text` as HTML, the PNG pictures of `folder` that it names inside it.

    The verdict, which is its first bold paragraph, is colored where `sound` is given,
    and so are the verdicts of checks in tables.
    """
    content = body(text)
    title = html.escape(escape.unmarked(text.partition("\n")[0].lstrip("# ")))
    if sound is not None:
        kind = "sound" if sound else "unsound"
        content = content.replace("<p><strong>", f'<p class="{kind}"><strong>', 1)
    content = _VERDICT.sub(r'<td\1 class="\2">\2</td>', content)

    def inside(match):
        data = (folder / html.unescape(match[1])).read_bytes()
        return f'src="data:image/png;base64,{base64.b64encode(data).decode()}"'

    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{_PICTURE.sub(inside, content)}\n</body></html>\n"
    )
