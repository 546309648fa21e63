"""MART of a ResNet-18 on CIFAR-10.

    python train.py --config=configs/lagrangian/cifar10_mart.py --workdir=runs/mart

The attack and lam = 5 of Wang et al., "Improving adversarial robustness requires revisiting
misclassified examples", 2020, for a ResNet-18, in the recipe with which Azizmalayeri and
Rohban, "Lagrangian objective function leads to improved unforeseen attack generalization",
2021, train all methods. MART's own recipe for it has --config.optimizer.learning_rate=0.01
--config.optimizer.weight_decay=3.5e-3. Batches of 48 images
can be shared by 8 devices; the paper's 50, `--config.batch_size=50`, by 1, 2 or 5. Made for one
GPU or more; not run here.
"""

from configs.lagrangian import cifar10_lagrangian
from jaxadv.training import settings


def get_config():
    config = cifar10_lagrangian.base()
    config.defense = {"name": "mart", "lam": 5.0}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 0.031},
        "steps": 10,
        "step_size": 0.007,
    }
    return settings.complete(config)
