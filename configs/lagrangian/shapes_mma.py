"""Max-margin adversarial training in l2 of a narrow ResNet on rendered colored shapes.

    python train.py --config=configs/lagrangian/shapes_mma.py --workdir=runs/shapes_mma

`--config.attack.threat.name=linf --config.attack.threat.eps=4/255 --config.defense.d_max=6/255
--config.defense.min_eps=0.005` trains in linf instead.
"""

from configs.lagrangian import shapes_lagrangian
from jaxadv.training import settings


def get_config():
    config = shapes_lagrangian.base()
    config.defense = {"name": "mma", "d_max": 0.5, "min_eps": 0.2}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "l2", "eps": 0.5},
        "steps": 5,
        "rel_step_size": 0.5,
    }
    return settings.complete(config)
