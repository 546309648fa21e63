"""Clean training of AlexNet on ImageNet-100: what the mCE of ImageNet-100-C is measured by.

    python train.py --config=configs/perceptual/imagenet100_alexnet.py --workdir=runs/imagenet100_alexnet

Laidlaw, Singla and Feizi's own is not published; the settings are those of Krizhevsky, Sutskever and
Hinton (2012) in torchvision's recipe: SGD of 0.01, 90 epochs, drops by 10 each 30. Not run here.
"""

from configs.perceptual import imagenet100_pat_self
from configs.perceptual.cifar10_alexnet import alexnet
from jaxadv.training import settings


def get_config():
    config = alexnet(imagenet100_pat_self.get_config(), "alexnet", 256)
    config.schedule.drop_epochs = (30, 60)
    return settings.complete(config)
