"""PGD training of a ResNet-18 on CIFAR-10, with budgets by the clean probability.

    python train.py --config=configs/lagrangian/cifar10_threshold.py --workdir=runs/threshold_linf
    python train.py --config=configs/lagrangian/cifar10_threshold.py --workdir=runs/threshold_l2 \
        --config.attack.threat.name=l2 --config.attack.threat.eps=1.3

Threshold-linf and Threshold-l2 of Azizmalayeri and Rohban, "Lagrangian objective function
leads to improved unforeseen attack generalization", 2021. Their largest budget is not given;
it is that of their adversarial training here, 10/255 and 1.3. Batches of 48 images
can be shared by 8 devices; the paper's 50, `--config.batch_size=50`, by 1, 2 or 5. Made for one
GPU or more; not run here.
"""

from configs.lagrangian import cifar10_lagrangian
from jaxadv.training import settings


def get_config():
    config = cifar10_lagrangian.base()
    config.defense = {"name": "threshold"}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 10 / 255},
        "steps": 10,
        "rel_step_size": 0.25,
    }
    return settings.complete(config)
