"""Perceptual distances of two images, and the tools to search their balls.

A distance is called on two images [h, w, c] in [0, 1]; those that depend on the
attacked classifier have `bind(model, image, label, key)`.
"""

from jaxadv.perceptual.lpips import Lpips
from jaxadv.perceptual.networks import NETWORKS
from jaxadv.perceptual.pixels import L2Distance, LinfDistance, Ssim

DISTANCES = {
    "l2": L2Distance,
    "linf": LinfDistance,
    "lpips": Lpips,
    "ssim": Ssim,
}
__all__ = ["DISTANCES", "NETWORKS", "L2Distance", "LinfDistance", "Lpips", "Ssim"]
