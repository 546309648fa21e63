"""Errors under stored sets of common corruptions, and mCE."""

from jaxadv.evaluation.corruptions.run import (
    Fields,
    corruption_error,
    evaluate,
    load_reference,
    measure,
    relative_corruption_error,
    resolve,
    summarize,
    table,
    write,
)

__all__ = [
    "Fields",
    "corruption_error",
    "evaluate",
    "load_reference",
    "measure",
    "relative_corruption_error",
    "resolve",
    "summarize",
    "table",
    "write",
]
