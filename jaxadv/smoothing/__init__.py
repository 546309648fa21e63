"""Randomized smoothing: the smoothed network, its votes and certificates."""

from jaxadv.smoothing.certificates import certify, predict
from jaxadv.smoothing.smoothed import copies, smoothed

__all__ = ["certify", "copies", "predict", "smoothed"]
