"""Instance adaptive adversarial training of a narrow ResNet on rendered colored shapes.

    python train.py --config=configs/lagrangian/shapes_iaat.py --workdir=runs/shapes_iaat

An epoch with the source's beta would move a budget by 0.2/255 at most: with beta = 1 an image
that withstands 2/255 more has it at once. Of the two epochs after the clean ones the first is
the source's warm-up.
"""

from configs.lagrangian import shapes_lagrangian
from jaxadv.training import settings


def get_config():
    config = shapes_lagrangian.base()
    config.defense = {
        "name": "iaat",
        "gamma": 2 / 255,
        "beta": 1.0,
        "eps_warm": 4 / 255,
    }
    config.phases = {"warm_up": {**config.defense, "warm_up": True, "until": 7}}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 4 / 255},
        "steps": 5,
        "rel_step_size": 0.2,
    }
    return settings.complete(config)
