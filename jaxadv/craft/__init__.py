"""Who runs an attack: inside a compiled step, or batch by batch from the host.

`craft` is pure and belongs in training steps. `craft_batches` is the evaluation's
loop: it keeps a fixed number of lanes busy on every device, refills a lane as soon
as its image is done, and so runs every image at one batch shape. Both derive all
randomness from the key and the example's id, verify the returned image, and merge
restarts with `worst`.
"""

from jaxadv.craft.arguments import UnitsWarning, fit, warn_units
from jaxadv.craft.base import Adversarial, worst
from jaxadv.craft.compiled import craft, craft_traced
from jaxadv.craft.host import Crafter, craft_batches, whole_chunk

__all__ = [
    "Adversarial",
    "Crafter",
    "UnitsWarning",
    "craft",
    "craft_batches",
    "craft_traced",
    "fit",
    "warn_units",
    "whole_chunk",
    "worst",
]
