"""PGD training of a ResNet-18 on CIFAR-10, with budgets by the clean probability.

    python train.py --config=configs/lagrangian/cifar10_threshold.py --workdir=runs/threshold_linf
    python train.py --config=configs/lagrangian/cifar10_threshold.py --workdir=runs/threshold_l2 \
        --config.attack.threat.name=l2 --config.attack.threat.eps=1.3

Threshold-linf and Threshold-l2 of Azizmalayeri and Rohban, "Lagrangian objective function
leads to improved unforeseen attack generalization", 2021. Their largest budget is not given;
it is that of their adversarial training here, 10/255 and 1.3. Batches of 48 images
can be shared by 8 devices; the paper's 50, `--config.batch_size=50`, by 1, 2 or 5. Made for one
GPU or more; not run here.
"""

from jaxadv.training import settings


def base():
    """The recipe with which that paper trains every method, but for 50 images; not completed."""
    config = settings.default_config()
    config.epochs = 100
    config.clean_epochs = 3
    config.batch_size = 48
    config.data.name = "cifar10"
    config.data.augment = ("pad_crop", "flip")
    config.data.validation = 1000
    config.model = {"name": "resnet18"}
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 2e-4
    config.schedule.name = "steps"
    config.schedule.drop_epochs = (70, 90)
    config.schedule.drop_factor = 0.1
    return config


def get_config():
    config = base()
    config.defense = {"name": "threshold"}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 10 / 255},
        "steps": 10,
        "rel_step_size": 0.25,
    }
    return settings.complete(config)
