"""Adversarial training of the smoothed network on CIFAR-10 (SmoothAdv).

    python train.py --config=configs/dual/cifar10_smooth_adv.py --workdir=runs/smooth_adv

Salman et al., "Provably robust deep learning via adversarially trained smoothed classifiers", 2019,
and the published code: 150 epochs, PGD of 10 steps in an l2 ball of 64/256 that grows over the
first ten epochs (1,920 steps of 256 images), each step 2 eps / 10 from the image itself, on 4 draws
of noise of 0.25.
"""

from configs.dual.cifar10_gaussian import base
from jaxadv.training import settings


def pgd(eps, steps):
    """PGD in an l2 ball from the image itself."""
    return {
        "name": "pgd",
        "threat": {"name": "l2", "eps": eps},
        "steps": steps,
        "rel_step_size": 2 / steps,
        "random_start": False,
        "keep": "last",
    }


def get_config():
    config = base()
    config.epochs = 150
    config.schedule.drop_epochs = (50, 100)
    config.defense = {"name": "smooth_adv", "sigma": 0.25, "samples": 4}
    config.defense["warm_up"] = 1920
    config.attack = pgd(64 / 256, steps=10)
    return settings.complete(config)
