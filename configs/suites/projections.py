"""Perceptual attacks by the network that bounds them and by how they project.

    python eval.py --config=configs/suites/projections.py:shapes --checkpoint=runs/shapes_pat_self
    python eval.py --config=configs/suites/projections.py:imagenet100 --checkpoint=runs/…

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, table 5: PPGD and LPA, bounded in the attacked network (`self`) or in the external one
of bounds.py, with the projection by bisection or by Newton's method. The self-bounded balls are those
of PAT.
"""

import copy

from configs.suites.base import check_choice, suite
from configs.suites.bounds import SIZES
from configs.suites.narrow_cifar import perceptual

SELF = {"shapes": 0.3, "imagenet100": 0.25}
PROJECTIONS = ("bisection", "newton")


def get_config(which="shapes"):
    check_choice("projections", which, tuple(SIZES))
    size, attacks = SIZES[which], {}
    external = perceptual(size.budgets.lpips, size.network, size.perceptual_steps)
    for name, spec in external.items():
        own = {**spec, "threat": {"name": "lpips", "eps": SELF[which]}}
        for bound, one in (("self", own), ("external", spec)):
            for projection in PROJECTIONS:
                found = copy.deepcopy(one)
                found["threat"]["projection"] = projection
                attacks[f"{name}_{bound}_{projection}"] = found
    return suite(
        f"projections_{which}",
        attacks,
        overlap=(),
        split=size.split,
        examples=size.examples,
        batch_size=100,
        chunk_steps=10,
    )
