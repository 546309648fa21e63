"""Clean training of AlexNet on ImageNet-100: what the mCE of ImageNet-100-C is measured by.

    python train.py --config=configs/perceptual/imagenet100_alexnet.py --workdir=runs/imagenet100_alexnet

Laidlaw, Singla and Feizi's own is not published; the settings are those of Krizhevsky, Sutskever and
Hinton (2012) in torchvision's recipe: SGD of 0.01, 90 epochs, drops by 10 each 30. Not run here.
"""

from configs.perceptual import imagenet100_pat_self
from jaxadv.training import settings


def get_config():
    config = imagenet100_pat_self.get_config()
    config.batch_size = 256
    config.model = {"name": "alexnet"}
    config.normalize.mean = (0.485, 0.456, 0.406)
    config.normalize.std = (0.229, 0.224, 0.225)
    config.defense = {"name": "clean"}
    config.attack, config.validation.attack = {}, {}
    config.validation.batch_size = 500
    config.optimizer.learning_rate = 0.01
    config.schedule.drop_epochs = (30, 60)
    return settings.complete(config)
