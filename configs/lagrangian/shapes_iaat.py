"""Instance adaptive adversarial training of a narrow ResNet on rendered colored shapes.

    python train.py --config=configs/lagrangian/shapes_iaat.py --workdir=runs/shapes_iaat

Two epochs with the source's beta would leave budgets of 0.4/255 at most: with beta = 1 an
image that withstands 2/255 more has it at once.
"""

from configs.baselines import shapes_clean
from jaxadv.training import settings


def get_config():
    config = shapes_clean.base()
    config.clean_epochs = 6
    config.defense = {"name": "iaat", "gamma": 2 / 255, "beta": 1.0}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 4 / 255},
        "steps": 5,
        "rel_step_size": 0.2,
    }
    config.validation.steps = 10
    return settings.complete(config)
