"""Who runs an attack: inside a compiled step, or batch by batch from the host.

`craft` is pure and belongs in training steps. `craft_batches` is the evaluation's
loop: it keeps a fixed number of lanes busy on every device, refills a lane as soon
as its image is done, and so runs every image at one batch shape. Both derive all
randomness from the key and the example's id, verify the returned image, and merge
restarts with `worst`. The module called is the function `craft` of its own name, so
that `jaxadv.craft` is either.
"""

import sys
import types
from typing import Any

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


class _Callable(types.ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Adversarial:
        return craft(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
