"""Training on Gaussian noise, for randomized smoothing, of a narrow ResNet on rendered shapes.

    python train.py --config=configs/dual/shapes_gaussian.py --workdir=runs/shapes_gaussian
    python eval.py --config=configs/suites/certify.py --checkpoint=runs/shapes_gaussian \\
        --config.examples=100 --config.smoothing.draws=1000
"""

from configs.baselines import shapes_clean
from jaxadv.training import settings


def get_config():
    config = shapes_clean.base()
    config.defense = {"name": "gaussian", "sigma": 0.12}
    return settings.complete(config)
