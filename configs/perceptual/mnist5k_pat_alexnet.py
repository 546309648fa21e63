"""Externally bounded perceptual adversarial training (PAT) on 5,000 MNIST digits.

    python train.py --config=configs/perceptual/mnist5k_alexnet.py --workdir=runs/mnist5k_alexnet
    python train.py --config=configs/perceptual/mnist5k_pat_alexnet.py --workdir=runs/mnist5k_pat_alexnet

As mnist5k_pat_self.py, with the distance measured in a small AlexNet that was trained before.
"""

from configs.perceptual import mnist5k_pat_self
from jaxadv.training import settings


def get_config():
    config = mnist5k_pat_self.get_config()
    network = {"name": "run", "path": "runs/mnist5k_alexnet"}
    with config.unlocked():
        for attack in (config.attack, config.validation.attack):
            attack.threat.network = network
            attack.threat.eps = 0.5
    return settings.complete(config)
