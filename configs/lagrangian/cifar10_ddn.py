"""Adversarial training against DDN's smallest perturbations on CIFAR-10.

    python train.py --config=configs/lagrangian/cifar10_ddn.py --workdir=runs/cifar10_ddn

Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger, "Decoupling direction and norm for
efficient gradient-based l2 adversarial attacks and defenses", 2019, section 5: the smallest broken
perturbation of 100 steps, scaled down to a norm of 1.0 where it is longer; an image that nothing
breaks enters clean. They train a wide network for 200 clean epochs and 30 on attacked images; here
network and schedule are those of cifar10_lagrangian.py, so that methods can be compared. Made for
one GPU or more; not run here.
"""

from configs.lagrangian import cifar10_lagrangian
from jaxadv.training import settings


def ddn(eps, steps):
    """DDN as it is trained with."""
    threat = {"name": "l2", "eps": eps}
    found = {"name": "ddn", "threat": threat, "steps": steps, "search": 0}
    return found | {"unbroken": "clean"}


def get_config():
    config = cifar10_lagrangian.base()
    config.attack = ddn(1.0, 100)
    return settings.complete(config)
