"""Threats: where an attack may look.

A threat is a frozen dataclass of pure functions on one image [h, w, c]:

  init(key, image) -> params           a random start inside the threat
  apply(params, image) -> image        the perturbed image, in [0, 1]
  direction(grad, params, image)       steepest ascent, of unit size in its norm
  project(params, image) -> params     the nearest point of the threat
  size(params, image) -> scalar        what the budget bounds, measured on `apply`

`eps` is the largest `size`, infinite where `unbounded` says so; `budget` is what a
relative step is a fraction of, a number or a pytree prefix of `params`. Three methods
are optional: `maximize(grad, image)`, the params that maximize <grad, params> over the
whole threat; `bind(model, image, label, key)`, which fills in what depends on the clean
image or on the network; and `distance(image, other)`, the size as a function of the two
images, so that an evaluation measures it again.
"""

from jaxadv import protocols
from jaxadv.plugins import Registry
from jaxadv.threats.compose import Composed
from jaxadv.threats.elastic import Elastic
from jaxadv.threats.flow import StAdv
from jaxadv.threats.fog import Fog
from jaxadv.threats.gabor import Gabor
from jaxadv.threats.jpeg import Jpeg
from jaxadv.threats.lp import L0, L1, L2, Linf
from jaxadv.threats.lpips import LpipsBall
from jaxadv.threats.masked import Masked
from jaxadv.threats.patch import Patch
from jaxadv.threats.recolor import ReColor
from jaxadv.threats.shared import Shared
from jaxadv.threats.snow import Snow
from jaxadv.threats.spatial import RotationTranslation
from jaxadv.threats.unbounded import Unbounded
from jaxadv.threats.union import Union

THREATS = Registry(
    "threats",
    {
        "composed": Composed,
        "elastic": Elastic,
        "fog": Fog,
        "gabor": Gabor,
        "jpeg": Jpeg,
        "l0": L0,
        "l1": L1,
        "l2": L2,
        "linf": Linf,
        "lpips": LpipsBall,
        "masked": Masked,
        "patch": Patch,
        "recolor": ReColor,
        "rotation_translation": RotationTranslation,
        "shared": Shared,
        "snow": Snow,
        "stadv": StAdv,
        "unbounded": Unbounded,
        "union": Union,
    },
    protocols.Threat,
)
