"""Certified accuracy of the smoothed network, and where it is written."""

from jaxadv.evaluation.certificates.run import Fields, evaluate, resolve

__all__ = ["Fields", "evaluate", "resolve"]
