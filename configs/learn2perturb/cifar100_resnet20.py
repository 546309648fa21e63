"""Networks that learn their noise, and two rivals, on CIFAR-100.

    python train.py --config=configs/learn2perturb/cifar100_resnet20.py:l2p --workdir=runs/l2p

As cifar10_resnet20.py; figures 2 and 3 of the paper's supplement are of this set. Not run here.
"""

from configs.learn2perturb.cifar10_resnet20 import recipe
from jaxadv.training import settings


def get_config(text="l2p"):
    return settings.complete(recipe("cifar100", text))
