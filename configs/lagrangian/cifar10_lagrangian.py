"""Lagrangian adversarial training of a ResNet-18 on CIFAR-10.

    python train.py --config=configs/lagrangian/cifar10_lagrangian.py --workdir=runs/cifar10_lagrangian
    python train.py --config=configs/lagrangian/cifar10_lagrangian.py:code --workdir=runs/cifar10_lagrangian_code

Azizmalayeri and Rohban, "Lagrangian objective function leads to improved unforeseen attack
generalization in adversarial training", 2021, algorithm 1 and section 4: lam 2, step 0.15, 100
epochs of which the first three see clean images, the rate of 0.1 divided by ten at epochs 70 and
90, no normalization of pixels. A step has 48 images; theirs has 50, which eight devices cannot
share: give `--config.batch_size=50` to one. By default the attack stays in [0, 1] and starts with a
deviation of 0.01. `:paper` is their text, which lets the perturbation leave the box and starts with
0.1. `:code` is their code, with a margin that is flat from 1 on and an attack on the statistics of
the batch (`craft_bn`); unlike theirs it moves no running averages. The attack has no budget, so the
best checkpoint is the one with most images right under PGD in an linf ball of 8/255. Made for one
GPU or more; not run here.
"""

from jaxadv.specs import UsageError
from jaxadv.training import settings

VARIANTS = {
    "box": {},
    "paper": {"clip": False, "deviation": 0.1},
    "code": {"objective": {"name": "margin", "kappa": 1.0}},
}


def base():
    """The recipe that all methods share here; not completed."""
    config = settings.default_config()
    config.epochs = 100
    config.clean_epochs = 3
    config.batch_size = 48
    config.data.name = "cifar10"
    config.data.augment = ("pad_crop", "flip")
    config.data.validation = 1000
    config.model = {"name": "resnet18"}
    config.defense = {"name": "adversarial"}
    config.validation.attack = pgd(8 / 255)
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 2e-4
    config.schedule.name = "steps"
    config.schedule.drop_epochs = (70, 90)
    config.schedule.drop_factor = 0.1
    return config


def pgd(eps, steps=20):
    """PGD in an linf ball, which selects the best checkpoint of every method."""
    threat = {"name": "linf", "eps": eps}
    return {
        "name": "pgd",
        "threat": threat,
        "steps": steps,
        "rel_step_size": 2.5 / steps,
    }


def lagrangian(variant="box", **fields):
    """The spec of the attack.

    Raises:
      UsageError: there is no such variant.
    """
    if variant not in VARIANTS:
        known = ", ".join(VARIANTS)
        raise UsageError(f"the text after the colon is {variant!r}; known: {known}")
    return {"name": "lagrangian", **VARIANTS[variant], **fields}


def attacked(config, variant, **fields):
    """`config` with the attack of a variant, and what else belongs to it."""
    config.attack = lagrangian(variant, **fields)
    config.craft_bn = "batch" if variant == "code" else "average"
    return config


def get_config(variant="box"):
    config = attacked(base(), variant, lam=2.0, step_size=0.15)
    return settings.complete(config)
