"""Rendered shapes under the narrow threat models and two perceptual attacks.

    python eval.py --config=configs/suites/narrow_shapes.py --checkpoint=runs/shapes_pat_self
    python eval.py --config=configs/suites/narrow_shapes.py:no_alexnet --checkpoint=runs/…

The columns of table 2 of Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense
against unseen threat models", 2021, at a size for two cores; see narrow_cifar.py. Of AutoAttack two
parts, APGD-CE and APGD-T, at l-infinity 4/255 and l2 0.5; StAdv at 0.02; ReColorAdv at 0.06; 20
steps. PPGD and LPA are bounded by 0.07 in the AlexNet of the package stlpips_pytorch (see
perceptual.py).
"""

from configs.suites.base import STLPIPS
from configs.suites.narrow_cifar import Budgets, narrow

BUDGETS = Budgets(4 / 255, 0.5, 0.07, stadv=0.02)


def get_config(which="attacks"):
    return narrow(
        "narrow_shapes",
        which,
        BUDGETS,
        20,
        STLPIPS,
        version="apgd_ce+apgd_t",
        perceptual_steps=8,
        examples=200,
    )
