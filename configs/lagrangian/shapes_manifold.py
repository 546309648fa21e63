"""Manifold regularization of a narrow ResNet on rendered colored shapes; our coefficients.

    python train.py --config=configs/lagrangian/shapes_manifold.py --workdir=runs/shapes_manifold

Jin and Rinard, "Manifold regularization for locally stable deep neural networks", 2020, as
`defenses.Manifold` says, with corners 4/255 away; everything else is that of shapes_lagrangian.py.
"""

from configs.lagrangian import shapes_lagrangian
from jaxadv.training import settings


def get_config():
    config = shapes_lagrangian.base()
    config.defense = {"name": "manifold", "eps": 4 / 255}
    return settings.complete(config)
