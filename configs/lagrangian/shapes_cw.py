"""Adversarial training against Carlini and Wagner's l2 attack on rendered colored shapes.

    python train.py --config=configs/lagrangian/shapes_cw.py --workdir=runs/shapes_cw

As cifar10_cw.py, with ten longer steps of each of two constants, at a size for two cores;
everything else is that of shapes_lagrangian.py.
"""

from configs.lagrangian import shapes_lagrangian
from configs.lagrangian.cifar10_cw import carlini_wagner
from jaxadv.training import settings


def get_config():
    config = shapes_lagrangian.base()
    fields = {"rounds": 2, "round_steps": 10, "step_size": 0.03}
    config.attack = carlini_wagner(111.0, **fields)
    return settings.complete(config)
