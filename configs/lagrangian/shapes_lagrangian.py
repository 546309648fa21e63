"""Lagrangian adversarial training of a narrow ResNet on rendered colored shapes.

    python train.py --config=configs/lagrangian/shapes_lagrangian.py --workdir=runs/shapes_lagrangian

Azizmalayeri and Rohban, "Lagrangian objective function leads to improved unforeseen attack
generalization in adversarial training", 2021, algorithm 1, at a size that trains on two cores: six
clean epochs, then two on attacked images. The multiplier and the step are those of CIFAR-10, and
`:paper` and `:code` those of cifar10_lagrangian.py. The best checkpoint is selected by PGD in an
linf ball of 4/255.
"""

from configs.baselines import shapes_clean
from configs.lagrangian.cifar10_lagrangian import attacked, pgd
from jaxadv.training import settings


def base():
    """What all methods share here; not completed."""
    config = shapes_clean.base()
    config.clean_epochs = 6
    config.defense = {"name": "adversarial"}
    config.validation.attack = pgd(4 / 255, steps=10)
    return config


def get_config(variant="box"):
    config = attacked(base(), variant, lam=2.0, step_size=0.15)
    return settings.complete(config)
