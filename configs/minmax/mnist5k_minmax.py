"""The four MNIST networks that min-max attacks are tried on, with 5,000 digits.

    python train.py --config=configs/minmax/mnist5k_minmax.py:mlp --workdir=runs/minmax/mnist5k/mlp

Networks, training and source as in `configs/minmax/mnist_minmax.py`; 30 epochs in place of 50.
"""

from configs.minmax import mnist_minmax
from jaxadv.training import settings


def get_config(text="mlp"):
    config = mnist_minmax.base(text)
    config.epochs = 30
    config.data.name = "mnist5k"
    config.data.validation = 400
    return settings.complete(config)
