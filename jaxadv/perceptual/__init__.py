"""Perceptual distances of two images, and the tools to search their balls.

A distance is called on two images [h, w, c] in [0, 1]; those that depend on the
attacked classifier have `bind(model, image, label, key)`.
"""

from jaxadv import protocols
from jaxadv.perceptual.lpips import Lpips
from jaxadv.perceptual.networks import NETWORKS
from jaxadv.perceptual.pixels import L2Distance, LinfDistance, Ssim
from jaxadv.plugins import Registry

DISTANCES = Registry(
    "distances",
    {
        "l2": L2Distance,
        "linf": LinfDistance,
        "lpips": Lpips,
        "ssim": Ssim,
    },
    protocols.Distance,
)
__all__ = ["DISTANCES", "NETWORKS", "L2Distance", "LinfDistance", "Lpips", "Ssim"]
