"""Manifold regularization of a ResNet-18 on CIFAR-10; our coefficients.

    python train.py --config=configs/lagrangian/cifar10_manifold.py --workdir=runs/cifar10_manifold

Jin and Rinard, "Manifold regularization for locally stable deep neural networks", 2020, as
`defenses.Manifold` says; network and schedule are those of cifar10_lagrangian.py. Made for one GPU
or more; not run here.
"""

from configs.lagrangian import cifar10_lagrangian
from jaxadv.training import settings


def get_config():
    config = cifar10_lagrangian.base()
    config.defense = {"name": "manifold", "eps": 8 / 255}
    return settings.complete(config)
