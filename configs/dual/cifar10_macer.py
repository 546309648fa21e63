"""Training that raises the certified radius on CIFAR-10 (MACER).

    python train.py --config=configs/dual/cifar10_macer.py --workdir=runs/macer

Zhai et al., "MACER: attack-free and scalable robust training via maximizing certified radius",
2020, and the published code: 440 epochs of SGD from 0.01 with batches of 64, 16 draws of noise of
0.25.
"""

from configs.dual.cifar10_gaussian import base
from jaxadv.training import settings


def get_config():
    config = base()
    config.epochs = 440
    config.batch_size = 64
    config.optimizer.learning_rate = 0.01
    config.optimizer.weight_decay = 5e-4
    config.schedule.drop_epochs = (200, 400)
    config.defense = {"name": "macer", "sigma": 0.25, "samples": 16}
    return settings.complete(config)
