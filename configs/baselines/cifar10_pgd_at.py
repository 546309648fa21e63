"""PGD adversarial training of a ResNet-18 on CIFAR-10.

    python train.py --config=configs/baselines/cifar10_pgd_at.py --workdir=runs/cifar10_pgd_at

The setting of Madry et al., "Towards deep learning models resistant to adversarial
attacks", 2018, with the learning rate and weight decay of Rice, Wong and Kolter, "Overfitting
in adversarially robust deep learning", 2020, and fewer epochs. Made for one GPU or more; not
run here. --config.model.compute_dtype=bfloat16 is faster on recent ones.
"""

from jaxadv.training import settings


def get_config():
    config = settings.default_config()
    config.epochs = 100
    config.batch_size = 128
    config.data.name = "cifar10"
    config.data.augment = ("pad_crop", "flip")
    config.data.validation = 1000
    config.normalize.mean = (0.4914, 0.4822, 0.4465)
    config.normalize.std = (0.2471, 0.2435, 0.2616)
    config.model = {"name": "resnet18"}
    config.defense = {"name": "adversarial"}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 8 / 255},
        "steps": 10,
        "step_size": 2 / 255,
    }
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "steps"
    config.schedule.drop_epochs = (75, 90)
    config.schedule.drop_factor = 0.1
    return settings.complete(config)
