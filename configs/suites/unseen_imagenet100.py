"""ImageNet-100 under attacks seen and unseen in training, weather, noise and blur.

    python eval.py --config=configs/suites/unseen_imagenet100.py --checkpoint=runs/…

Azizmalayeri and Rohban, "Lagrangian objective function leads to improved unforeseen attack
generalization in adversarial training", 2021, table 2; see unseen_cifar.py. Fog and gabor are at
the second of their calibrated budgets; the caption's 0.125 for gabor is not among them.
"""

from configs.suites.base import calibrated, suite
from configs.suites.unseen_cifar import SEEN, attacks

WEATHER = {"fog": 256 / 255, "gabor": 12.5 / 255, "snow": 0.125}


def get_config():
    weather = {name: calibrated(name, eps, 50) for name, eps in WEATHER.items()}
    found = attacks(4 / 255, 4.0, 0.25, "alexnet") | weather
    return suite("unseen_imagenet100", found, seen=SEEN, batch_size=50)
