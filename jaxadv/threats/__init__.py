"""Threats: where an attack may look.

A threat is a frozen dataclass of pure functions on one image [h, w, c]:

  init(key, image) -> params           a random start inside the threat
  apply(params, image) -> image        the perturbed image, in [0, 1]
  direction(grad, params, image)       steepest ascent, of unit size in its norm
  project(params, image) -> params     the nearest point of the threat
  size(params, image) -> scalar        what the budget bounds, measured on `apply`

`eps` is the largest `size`; `budget` is what a relative step is a fraction of,
a number or a pytree prefix of `params`. Two methods are optional:
`maximize(grad, image)`, the params that maximize <grad, params> over the whole
threat, and `bind(model, image, label, key)`, which fills in what depends on the
clean image or on the network.
"""

from jaxadv.threats.lp import L0, L1, L2, Linf
from jaxadv.threats.masked import Masked

THREATS = {
    "l0": L0,
    "l1": L1,
    "l2": L2,
    "linf": Linf,
    "masked": Masked,
}
