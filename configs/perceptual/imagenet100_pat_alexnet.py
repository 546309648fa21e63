"""PAT of a ResNet-50 on ImageNet-100, bounded in AlexNet.

    python train.py --config=configs/perceptual/imagenet100_pat_alexnet.py --workdir=runs/imagenet100_pat_alexnet

As imagenet100_pat_self.py, with a bound of 0.5 in torchvision's AlexNet, whose weights are to be
put where the error message says, or at `--config.attack.threat.network.path`. Without them
`--config.attack.threat.network.name=stlpips_alexnet` is a network that pip installs, in which 0.5
is another bound. Not run here.
"""

from configs.perceptual import imagenet100_pat_self
from configs.perceptual.cifar10_pat_self import fast_lpa
from jaxadv.training import settings


def get_config():
    config = imagenet100_pat_self.get_config()
    attack = fast_lpa(0.5, {"name": "alexnet"})
    with config.unlocked():
        config.attack = attack
        config.validation.attack = attack | {"project": True}
    return settings.complete(config)
