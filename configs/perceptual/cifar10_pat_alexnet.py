"""PAT of a ResNet-50 on CIFAR-10, bounded in the CIFAR AlexNet.

    python train.py --config=configs/perceptual/cifar10_pat_alexnet.py --workdir=runs/cifar10_pat_alexnet

As cifar10_pat_self.py, with the paper's bound of 1.0 in an external network. Its weights are the
authors' `alexnet_cifar.pt`, to be put where the error message says, or the path of
`--config.attack.threat.network.path`, which validation takes too. Without them
`--config.attack.threat.network.name=stlpips_alexnet` is a network that pip installs, in which 1.0
is another bound. Not run here.
"""

from configs.perceptual import cifar10_pat_self
from jaxadv.training import settings


def get_config():
    config = cifar10_pat_self.get_config()
    attack = cifar10_pat_self.fast_lpa(1.0, {"name": "cifar_alexnet"})
    with config.unlocked():
        config.attack = attack
        config.validation.attack = attack | {"project": True}
    return settings.complete(config)
