"""Attacks: how to search a threat.

An attack is a frozen dataclass of pure functions on one image [h, w, c]:

  init(key, model, image, label) -> state    the key is consumed
  step(state, model, image, label) -> state
  finish(state, model, image, label) -> params   a point of `attack.threat`

with the static counts `steps` and `restarts`, and `passes`, the forward and
backward passes of a step, where they are not one each. Its state has `count` (steps
taken) and `done` (nothing more to gain). `threat` and `objective` are its parts;
the drivers in `jaxadv.craft` loop, restart, verify and merge. An attack that records
something on its way has `trace(state, model, image, label)`; see `craft.craft_traced`.
One that minimizes the norm of what it returns says so by `minimizes`.
"""

from collections.abc import Mapping
from typing import Any

from jaxadv import protocols, specs
from jaxadv.attacks.gradient.adam import Adam
from jaxadv.attacks.gradient.apgd import Apgd
from jaxadv.attacks.gradient.apgd_l1 import ApgdL1
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.attacks.gradient.lagrangian import Lagrangian
from jaxadv.attacks.gradient.min_max import MinMax
from jaxadv.attacks.gradient.msd import Msd
from jaxadv.attacks.minimal.carlini_wagner import CarliniWagner
from jaxadv.attacks.minimal.ddn import Ddn
from jaxadv.attacks.minimal.deepfool import DeepFool
from jaxadv.attacks.minimal.elastic_net import ElasticNet
from jaxadv.attacks.minimal.fab import Fab
from jaxadv.attacks.minimal.fmn import Fmn
from jaxadv.attacks.minimal.hop_skip_jump import HopSkipJump
from jaxadv.attacks.perceptual.lagrange import FastLpa, Lpa
from jaxadv.attacks.perceptual.ppgd import Ppgd
from jaxadv.attacks.sampling.corrupt import Corrupt
from jaxadv.attacks.sampling.grid import Grid
from jaxadv.attacks.sampling.noise import UniformNoise
from jaxadv.attacks.sampling.square import Square
from jaxadv.attacks.sparse.few_pixel import FewPixel
from jaxadv.attacks.sparse.jsma import Jsma
from jaxadv.attacks.sparse.pgd0 import Pgd0
from jaxadv.attacks.sparse.sparse_rs import SparseRs
from jaxadv.plugins import Registry

ATTACKS = Registry(
    "attacks",
    {
        "adam": Adam,
        "apgd": Apgd,
        "apgd_l1": ApgdL1,
        "carlini_wagner": CarliniWagner,
        "corrupt": Corrupt,
        "ddn": Ddn,
        "deepfool": DeepFool,
        "elastic_net": ElasticNet,
        "fab": Fab,
        "fast_lpa": FastLpa,
        "fgsm": Fgsm,
        "fmn": Fmn,
        "grid": Grid,
        "hop_skip_jump": HopSkipJump,
        "jsma": Jsma,
        "few_pixel": FewPixel,
        "lagrangian": Lagrangian,
        "lpa": Lpa,
        "min_max": MinMax,
        "msd": Msd,
        "pgd": Ascent,
        "pgd0": Pgd0,
        "ppgd": Ppgd,
        "sparse_rs": SparseRs,
        "square": Square,
        "uniform_noise": UniformNoise,
    },
    protocols.Attack,
)


def build_attack(spec: Mapping[str, Any], where: str) -> Any:
    """The attack that a config dictionary describes; see `specs.build`.

    Raises:
      UsageError: as there, or for an attack of no steps, which leaves every image as
        it is or at its random start, and any network looking robust.
    """
    attack = specs.build(spec, ATTACKS, where)
    if attack.steps < 1:
        raise specs.UsageError(f"{where}.steps is {attack.steps}; it must be >= 1")
    return attack
