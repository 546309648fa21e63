"""Adversarial training of the smoothed network (SmoothAdv) on rendered shapes.

    python train.py --config=configs/dual/shapes_smooth_adv.py --workdir=runs/shapes_smooth_adv

As cifar10_smooth_adv.py with two draws of noise and three steps in an l2 ball of 0.25, at a size
for two cores: four clean epochs, then four on attacked images.
"""

from configs.baselines import shapes_clean
from configs.dual.cifar10_smooth_adv import pgd
from jaxadv.training import settings


def get_config():
    config = shapes_clean.base()
    config.clean_epochs = 4
    config.defense = {"name": "smooth_adv", "sigma": 0.12, "samples": 2}
    config.attack = pgd(0.25, steps=3)
    return settings.complete(config)
