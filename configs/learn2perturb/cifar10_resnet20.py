"""Networks that learn their noise, and two rivals, on CIFAR-10.

    python train.py --config=configs/learn2perturb/cifar10_resnet20.py:l2p --workdir=runs/l2p

`:vanilla` is adversarial training without noise, `:pni` parametric noise injection, `:adv_bnn`
adversarial training of a Bayesian network, `:l2p` Learn2Perturb. Jeddi, Shafiee, Karg,
Scharfenberger and Wong, "Learn2Perturb: an end-to-end feature perturbation learning to improve
adversarial robustness", 2020: 350 epochs of SGD in batches of 128, ten of them without noise and
ten without attacks; PGD of 7 steps of 0.01 at 8/255, from a random start. The rivals have the
settings of their own authors; the deviations of Adv-BNN for CIFAR-10 are not published, and here
they are those of the authors' script for other images.

Other networks of the paper: `:l2p,resnet32`, `resnet44`, `resnet56`, `resnet18`; a width of 1.5, 2
or 4 times by `--config.model.network.width=24`, 32 or 64 (`--config.model.width` of `:vanilla`).
Made for one GPU or more; not run here.
"""

from configs.suites.base import check_choice
from jaxadv.training import settings

METHODS = ("l2p", "vanilla", "pni", "adv_bnn")
NETWORKS = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet18")


def chosen(text):
    """(method, network's name) of what follows the colon."""
    method, _, network = text.partition(",")
    network = network or "resnet20"
    check_choice("resnet20", method, METHODS)
    check_choice("resnet20", network, NETWORKS)
    return method, network


def defended(config, method, network, plain=10, noisy=20):
    """Sets model, defense and phases of a method, around a network's spec.

    Args:
      config: its attack is set already, its epochs and optimizer are its own.
      method: one of METHODS.
      network: spec of the network inside.
      plain: epochs of Learn2Perturb without noise.
      noisy: the epoch that those with noise, but without attacks, end with.
    """
    both = {"name": "adversarial", "alpha": 0.5, "beta": 0.5, "predicted": True}
    if method == "vanilla":
        config.model, config.defense = network, both
        return config
    if method == "pni":
        config.model = {"name": "pni", "network": network}
        config.defense = both
        config.clean_epochs = plain // 2
        return config
    if method == "adv_bnn":
        config.model = {"name": "adv_bnn", "network": network}
        config.defense = {"name": "adv_bnn"}
        return config
    config.model = {"name": "learn2perturb", "network": network}
    config.defense = {"name": "learn2perturb", "since": plain}
    alone = {**config.defense, "alpha": 1.0, "beta": 0.0}
    config.phases = {
        "plain": {**alone, "noisy": False, "until": plain},
        "noise": {**alone, "until": noisy},
    }
    return config


def recipe(data, text):
    """The paper's training of a set of CIFAR; not completed."""
    method, network = chosen(text)
    config = settings.default_config()
    config.batch_size = 128
    config.data.name = data
    config.data.augment = ("pad_crop", "flip")
    config.data.validation = 1000
    config.normalize.mean = (0.4914, 0.4822, 0.4465)
    config.normalize.std = (0.2023, 0.1994, 0.2010)
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 8 / 255},
        "steps": 7,
        "step_size": 0.01,
    }
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True
    config.schedule.name = "steps"
    config.schedule.drop_factor = 0.1
    if method in ("l2p", "vanilla"):
        config.epochs = 350
        config.schedule.drop_epochs = (150, 250)
        config.optimizer.weight_decay = 1e-4
    elif method == "pni":
        config.epochs = 160
        config.schedule.drop_epochs = (80, 120)
        config.optimizer.weight_decay = 3e-4
    else:
        config.epochs = 200
        config.schedule.drop_epochs = (80, 140, 180)
        config.optimizer.name = "adam"
        config.optimizer.learning_rate = 0.01
        config.optimizer.restart = True
        config.attack = {
            **config.attack,
            "steps": 10,
            "step_size": 0.007,
            "random_start": False,
        }
    return defended(config, method, {"name": network})


def get_config(text="l2p"):
    return settings.complete(recipe("cifar10", text))
