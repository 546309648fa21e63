"""Externally bounded perceptual adversarial training (PAT) of a narrow ResNet on colored shapes.

    python train.py --config=configs/perceptual/shapes_alexnet.py --workdir=runs/shapes_alexnet
    python train.py --config=configs/perceptual/shapes_pat_alexnet.py --workdir=runs/shapes_pat_alexnet

As shapes_pat_self.py, with the distance measured in a small AlexNet that was trained before.
"""

from configs.perceptual import shapes_pat_self
from jaxadv.training import settings


def get_config():
    config = shapes_pat_self.get_config()
    network = {"name": "run", "path": "runs/shapes_alexnet"}
    with config.unlocked():
        for attack in (config.attack, config.validation.attack):
            attack.threat.network = network
            attack.threat.eps = 0.5
    return settings.complete(config)
