"""Clean training of a small AlexNet on rendered colored shapes: an external LPIPS network.

    python train.py --config=configs/perceptual/shapes_alexnet.py --workdir=runs/shapes_alexnet

`--config.attack.threat.network.path=runs/shapes_alexnet` then measures distances in it.
"""

from configs.baselines import shapes_clean
from jaxadv.training import settings


def get_config():
    config = shapes_clean.base()
    config.model = {"name": "cifar_alexnet", "width": 24, "hidden": 128}
    config.epochs = 40
    config.optimizer.learning_rate = 2e-3
    return settings.complete(config)
