"""PGD adversarial training of a narrow ResNet on rendered colored shapes.

    python train.py --config=configs/baselines/shapes_pgd_at.py --workdir=runs/shapes_pgd_at

`--config.attack.threat.name=l2 --config.attack.threat.eps=0.5` trains in an l2 ball instead.
"""

from configs.baselines import shapes_clean
from jaxadv.training import settings


def get_config():
    config = shapes_clean.base()
    config.clean_epochs = 6
    config.defense = {"name": "adversarial"}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 4 / 255},
        "steps": 5,
        "rel_step_size": 0.5,
    }
    config.validation.steps = 10
    return settings.complete(config)
