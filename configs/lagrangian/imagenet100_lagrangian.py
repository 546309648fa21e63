"""Lagrangian adversarial training of a ResNet-34 on ImageNet-100.

    python train.py --config=configs/lagrangian/imagenet100_lagrangian.py --workdir=runs/imagenet100_lagrangian

Azizmalayeri and Rohban, "Lagrangian objective function leads to improved unforeseen attack
generalization in adversarial training", 2021, section 4: lam 0.45, step 0.25, 90 epochs, the rate of
0.1 divided by ten at epochs 30, 60 and 80, weight decay 1e-4, 128 images a step. `:paper` and `:code`
are those of cifar10_lagrangian.py; the best checkpoint is selected by PGD in an linf ball of 4/255.
Made for several GPUs or a pod; not run here.
"""

from configs.lagrangian.cifar10_lagrangian import attacked, base, pgd
from jaxadv.training import settings


def get_config(variant="box"):
    config = base()
    config.epochs = 90
    config.batch_size = 128
    config.data.name = "imagenet100"
    config.data.augment = ({"name": "resized_crop", "min_area": 0.08}, {"name": "flip"})
    config.normalize.mean = (0.4717, 0.4499, 0.3837)
    config.normalize.std = (0.2600, 0.2516, 0.2575)
    config.model = {"name": "resnet34_imagenet"}
    config = attacked(config, variant, lam=0.45, step_size=0.25)
    config.validation.attack = pgd(4 / 255)
    config.validation.batch_size = config.batch_size
    config.optimizer.weight_decay = 1e-4
    config.schedule.drop_epochs = (30, 60, 80)
    return settings.complete(config)
