"""Defenses: what training makes smaller.

A defense is a frozen dataclass of two pure functions:

  init(image_shape, examples) -> memory
      what it remembers between steps, () for nothing. `examples` is one more than
      the largest example id: memory of single examples is an array
      [examples, …] indexed by id, whose rows the devices exchange (`base.remember`).
  loss(params, state, batch, key) -> (loss, Output)
      the mean loss of one device's batch {image [b, h, w, c] in [0, 1], label [b],
      id [b]}. `state` is the TrainState: `network`, `batch_stats`, `memory`. The
      key is the same on all devices; see `base.Output` for the rest.

Where several losses of one step look at the same attacked images, as with weight
perturbation, a defense also has

  craft(params, state, batch, key) -> crafted
      and takes this as the last argument of `loss`, which else crafts by itself.

One that has `takes_targets = True` learns the probabilities `target` [b, classes] of a
batch that has them (`base.wanted`): smoothed labels, and those of mixed images.

Inputs are crafted on the current weights in evaluation mode (by
`jaxadv.craft.craft`, where each perturbation has a loss of its own) and carry no
gradient. The attacks come from the config's `attack` or
`attacks`, not from the defense's own spec.
"""

from jaxadv import protocols
from jaxadv.defenses.adv_bnn import AdvBnn
from jaxadv.defenses.adversarial import Adversarial
from jaxadv.defenses.clean import Clean
from jaxadv.defenses.gaussian import Gaussian
from jaxadv.defenses.generalized import Generalized
from jaxadv.defenses.grad_align import GradAlign
from jaxadv.defenses.iaat import Iaat
from jaxadv.defenses.learn2perturb import Learn2Perturb
from jaxadv.defenses.macer import Macer
from jaxadv.defenses.manifold import Manifold
from jaxadv.defenses.mart import Mart
from jaxadv.defenses.mma import Mma
from jaxadv.defenses.n_fgsm import NFgsm
from jaxadv.defenses.smooth_adv import SmoothAdv
from jaxadv.defenses.threshold import Threshold
from jaxadv.defenses.trades import Trades
from jaxadv.defenses.universal import Universal
from jaxadv.plugins import Registry

DEFENSES = Registry(
    "defenses",
    {
        "adv_bnn": AdvBnn,
        "adversarial": Adversarial,
        "clean": Clean,
        "gaussian": Gaussian,
        "generalized": Generalized,
        "grad_align": GradAlign,
        "iaat": Iaat,
        "learn2perturb": Learn2Perturb,
        "macer": Macer,
        "manifold": Manifold,
        "mart": Mart,
        "mma": Mma,
        "n_fgsm": NFgsm,
        "smooth_adv": SmoothAdv,
        "threshold": Threshold,
        "trades": Trades,
        "universal": Universal,
    },
    protocols.Defense,
)
