"""Clean training of the CIFAR AlexNet: what external LPIPS and the mCE of CIFAR-10-C are measured by.

    python train.py --config=configs/perceptual/cifar10_alexnet.py --workdir=runs/cifar10_alexnet

Laidlaw, Singla and Feizi publish its weights (`alexnet_cifar.pt`) and no recipe; this is ours, with
their augmentation and ImageNet's statistics, as theirs has. Distances of two such networks differ: a
number that is compared with the paper's takes its file. Not run here.
"""

from configs.perceptual import cifar10_pat_self
from jaxadv.training import settings


def alexnet(config, name, batch_size):
    """Clean training of an AlexNet with the data and the schedule of a config of PAT."""
    config.batch_size = batch_size
    config.model = {"name": name}
    config.normalize.mean = (0.485, 0.456, 0.406)
    config.normalize.std = (0.229, 0.224, 0.225)
    config.defense = {"name": "clean"}
    config.attack, config.validation.attack = {}, {}
    config.validation.batch_size = 500
    config.optimizer.learning_rate = 0.01
    return config


def get_config():
    config = alexnet(cifar10_pat_self.get_config(), "cifar_alexnet", 128)
    config.optimizer.weight_decay = 5e-4
    return settings.complete(config)
