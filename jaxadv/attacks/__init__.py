"""Attacks: how to search a threat.

An attack is a frozen dataclass of pure functions on one image [h, w, c]:

  init(key, model, image, label) -> state    the key is consumed
  step(state, model, image, label) -> state
  finish(state, model, image, label) -> params   a point of `attack.threat`

with the static counts `steps` and `restarts`, and `passes`, the forward and
backward passes of a step, where they are not one each. Its state has `count` (steps
taken) and `done` (nothing more to gain). `threat` and `objective` are its parts;
the drivers in `jaxadv.craft` loop, restart, verify and merge.
"""

from jaxadv.attacks.ascent import Ascent
from jaxadv.attacks.fgsm import Fgsm
from jaxadv.attacks.noise import UniformNoise

ATTACKS = {
    "fgsm": Fgsm,
    "pgd": Ascent,
    "uniform_noise": UniformNoise,
}
