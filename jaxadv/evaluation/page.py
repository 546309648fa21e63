"""A Markdown report as one HTML page that opens without a network."""

import base64
import html
import re
from pathlib import Path

import markdown

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.7rem; }
img { max-width: 100%; }
code { background: #f3f3f3; padding: 0 0.2rem; }
"""
_PICTURE = re.compile(r'src="([^":]+\.png)"')


def page(text: str, folder: Path) -> str:
    """Markdown `text` as HTML, the PNG pictures of `folder` that it names inside it."""
    body = markdown.markdown(text, extensions=["tables", "sane_lists"])
    title = html.escape(text.partition("\n")[0].lstrip("# "))

    def inside(match):
        content = (folder / html.unescape(match[1])).read_bytes()
        return f'src="data:image/png;base64,{base64.b64encode(content).decode()}"'

    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{_PICTURE.sub(inside, body)}\n</body></html>\n"
    )
