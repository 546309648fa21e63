"""Adversarial training against Carlini and Wagner's l2 attack on CIFAR-10.

    python train.py --config=configs/lagrangian/cifar10_cw.py --workdir=runs/cifar10_cw

The C&W training of Azizmalayeri and Rohban, "Lagrangian objective function leads to improved
unforeseen attack generalization in adversarial training", 2021, figure 5, whose settings are not
given: here three values of the constant from 1 on, 30 steps with each, and no budget but the box,
whose diagonal is 55.4. An image that no value breaks enters clean. They train on the first three
classes; this is all ten, for which a folder of one's own (`folder:DIR`) can be made of three.
Network and schedule are those of cifar10_lagrangian.py. Made for one GPU or more; not run here.
"""

from configs.lagrangian import cifar10_lagrangian
from jaxadv.training import settings


def carlini_wagner(diagonal, **fields):
    """C&W with few rounds, in a ball as large as the box."""
    return {
        "name": "carlini_wagner",
        "threat": {"name": "l2", "eps": diagonal},
        "rounds": 3,
        "round_steps": 30,
        "search": 0,
        "first_constant": 1.0,
        **fields,
    }


def get_config():
    config = cifar10_lagrangian.base()
    config.attack = carlini_wagner(56.0)
    return settings.complete(config)
