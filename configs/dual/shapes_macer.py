"""Training that raises the certified radius (MACER) on rendered shapes.

    python train.py --config=configs/dual/shapes_macer.py --workdir=runs/shapes_macer

As cifar10_macer.py with four draws of noise, at a size for two cores: four clean epochs first.
"""

from configs.baselines import shapes_clean
from jaxadv.training import settings


def get_config():
    config = shapes_clean.base()
    config.clean_epochs = 4
    config.defense = {"name": "macer", "sigma": 0.12, "samples": 4}
    return settings.complete(config)
