"""PGD training, with budgets by the clean probability, of a narrow ResNet on rendered colored shapes.

    python train.py --config=configs/lagrangian/shapes_threshold.py --workdir=runs/shapes_threshold

`--config.attack.threat.name=l2 --config.attack.threat.eps=0.5` trains in l2 balls instead.
"""

from configs.lagrangian import shapes_lagrangian
from jaxadv.training import settings


def get_config():
    config = shapes_lagrangian.base()
    config.defense = {"name": "threshold"}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 4 / 255},
        "steps": 5,
        "rel_step_size": 0.5,
    }
    return settings.complete(config)
