"""What an evaluation tells: printed, as files, as a page, as pictures."""

from jaxadv.evaluation.report.document import markdown, notes
from jaxadv.evaluation.report.report import build, environment, text, verdict, write

__all__ = [
    "build",
    "environment",
    "markdown",
    "notes",
    "text",
    "verdict",
    "write",
]
