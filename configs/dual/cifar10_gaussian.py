"""Training on Gaussian noise for randomized smoothing on CIFAR-10.

    python train.py --config=configs/dual/cifar10_gaussian.py --workdir=runs/gaussian
    python eval.py --config=configs/suites/certify.py --checkpoint=runs/gaussian

Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing", 2019,
section 4 and the published code: 90 epochs of SGD with batches of 256, sigma = 0.25. Their network
is a ResNet-110; `--config.defense.sigma=0.5` is another of their noises.
"""

from jaxadv.training import settings


def base():
    """What the methods of smoothing share on CIFAR-10; not completed."""
    config = settings.default_config()
    config.epochs = 90
    config.batch_size = 256
    config.data.name = "cifar10"
    config.data.augment = ("pad_crop", "flip")
    config.data.validation = 1000
    config.model = {"name": "resnet18"}
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "steps"
    config.schedule.drop_epochs = (30, 60)
    config.schedule.drop_factor = 0.1
    return config


def get_config():
    config = base()
    config.defense = {"name": "gaussian", "sigma": 0.25}
    return settings.complete(config)
