"""Adversarial training against DDN's smallest perturbations on rendered colored shapes.

    python train.py --config=configs/lagrangian/shapes_ddn.py --workdir=runs/shapes_ddn

Rony et al., "Decoupling direction and norm for efficient gradient-based l2 adversarial attacks
and defenses", 2019, section 5, as in cifar10_ddn.py, with ten steps, each of which changes the norm
by a fifth, at a size for two cores; everything else is that of shapes_lagrangian.py.
"""

from configs.lagrangian import shapes_lagrangian
from configs.lagrangian.cifar10_ddn import ddn
from jaxadv.training import settings


def get_config():
    config = shapes_lagrangian.base()
    config.attack = ddn(1.0, 10) | {"gamma": 0.2}
    return settings.complete(config)
