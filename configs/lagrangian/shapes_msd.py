"""Adversarial training against the union of linf, l2 and l1 balls on rendered shapes, by MSD.

    python train.py --config=configs/lagrangian/shapes_msd.py --workdir=runs/shapes_msd

Maini, Wong and Kolter, "Adversarial robustness against the union of multiple perturbation
models", 2020, algorithm 1, with fewer and larger steps at a size for two cores; everything else is
that of shapes_lagrangian.py.
"""

from configs.lagrangian import shapes_lagrangian
from configs.lagrangian.cifar10_msd import union
from jaxadv.training import settings


def get_config():
    config = shapes_lagrangian.base()
    config.attack = {
        "name": "msd",
        "threat": union(4 / 255, 0.5, 6.0, 0.01),
        "steps": 5,
        "rel_step_size": 0.4,
    }
    return settings.complete(config)
