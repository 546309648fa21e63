"""Max-margin adversarial training in l2 of a ResNet-18 on CIFAR-10.

    python train.py --config=configs/lagrangian/cifar10_mma.py --workdir=runs/mma

The attack, min_eps and d_max = 1 of Ding et al., "MMA training: direct input space margin
maximization through adversarial training", 2020, in the recipe with which Azizmalayeri and
Rohban, "Lagrangian objective function leads to improved unforeseen attack generalization",
2021, train all methods; their d_max is not given. In linf: --config.attack.threat.name=linf
--config.attack.threat.eps=8/255 --config.defense.min_eps=0.005 --config.defense.d_max=12/255.
--config.defense.clean_weight=0 is OMMA. Batches of 48 images
can be shared by 8 devices; the paper's 50, `--config.batch_size=50`, by 1, 2 or 5. Made for one
GPU or more; not run here.
"""

from configs.lagrangian import cifar10_lagrangian
from jaxadv.training import settings


def get_config():
    config = cifar10_lagrangian.base()
    config.defense = {"name": "mma", "d_max": 1.0, "min_eps": 0.5}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "l2", "eps": 1.0},
        "steps": 10,
        "rel_step_size": 0.25,
    }
    return settings.complete(config)
