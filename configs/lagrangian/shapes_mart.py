"""MART of a narrow ResNet on rendered colored shapes.

    python train.py --config=configs/lagrangian/shapes_mart.py --workdir=runs/shapes_mart

The attack is that of `configs/baselines/shapes_pgd_at.py`, and so is its budget.
"""

from configs.lagrangian import shapes_lagrangian
from jaxadv.training import settings


def get_config():
    config = shapes_lagrangian.base()
    config.defense = {"name": "mart", "lam": 5.0}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 4 / 255},
        "steps": 5,
        "rel_step_size": 0.5,
    }
    return settings.complete(config)
