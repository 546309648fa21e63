"""Adversarial training against the union of linf, l2 and l1 balls on CIFAR-10, by MSD.

    python train.py --config=configs/lagrangian/cifar10_msd.py --workdir=runs/cifar10_msd

Maini, Wong and Kolter, "Adversarial robustness against the union of multiple perturbation
models", 2020, algorithm 1 and section 5: 50 steps of 0.003, 0.05 and 1.0 in balls of 0.03, 0.5 and
12, where their code trains with 0.3 in l2. The network and its schedule are those of
cifar10_lagrangian.py, so that methods can be compared. Made for one GPU or more; not run here.
"""

from configs.lagrangian import cifar10_lagrangian
from jaxadv.training import settings


def union(linf, l2, l1, fraction):
    """The threat: three balls, the l1 steps of which move a share of the channels."""
    return {
        "name": "union",
        "parts": [
            {"name": "linf", "eps": linf},
            {"name": "l2", "eps": l2},
            {"name": "l1", "eps": l1, "fraction": fraction},
        ],
    }


def get_config():
    config = cifar10_lagrangian.base()
    config.attack = {
        "name": "msd",
        "threat": union(0.03, 0.5, 12.0, 0.004),
        "steps": 50,
        "step_sizes": (0.003, 0.05, 1.0),
        "rel_step_size": None,
    }
    return settings.complete(config)
