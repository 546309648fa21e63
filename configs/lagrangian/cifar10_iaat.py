"""Instance adaptive adversarial training of a ResNet-18 on CIFAR-10.

    python train.py --config=configs/lagrangian/cifar10_iaat.py --workdir=runs/iaat

The rule and the attack of Balaji, Goldstein and Hoffman, "Instance adaptive adversarial
training: improved accuracy tradeoffs in neural nets", 2019, in the recipe with which
Azizmalayeri and Rohban, "Lagrangian objective function leads to improved unforeseen attack
generalization", 2021, train all methods. After the three clean epochs come the source's ten of
`warm_up`, with one budget for all correct images. Batches of 48 images
can be shared by 8 devices; the paper's 50, `--config.batch_size=50`, by 1, 2 or 5. Made for one
GPU or more; not run here.
"""

from configs.lagrangian import cifar10_lagrangian
from jaxadv.training import settings


def get_config():
    config = cifar10_lagrangian.base()
    config.defense = {"name": "iaat", "eps_warm": 8 / 255, "gamma": 1.9 / 255}
    config.phases = {"warm_up": {**config.defense, "warm_up": True, "until": 13}}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 8 / 255},
        "steps": 10,
        "rel_step_size": 0.2,
    }
    return settings.complete(config)
