"""Networks that learn their noise, and two rivals, on rendered colored shapes.

    python train.py --config=configs/learn2perturb/shapes_resnet20.py:l2p --workdir=runs/shapes_l2p

`:l2p`, `:vanilla`, `:pni` and `:adv_bnn` are those of cifar10_resnet20.py around a ResNet-20 of
width 4, at a size for two cores: twelve epochs, of Learn2Perturb four without noise and two
without attacks, and PGD of 5 steps at 4/255. Adv-BNN has numbers of our own.
"""

from configs.baselines import shapes_clean
from configs.learn2perturb.cifar10_resnet20 import chosen, defended
from jaxadv.training import settings


def get_config(text="l2p"):
    method, network = chosen(text)
    config = shapes_clean.base()
    config.epochs = 12
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 4 / 255},
        "steps": 5,
        "rel_step_size": 0.5,
    }
    config.validation.steps = 10
    defended(config, method, {"name": network, "width": 4}, plain=4, noisy=6)
    if method == "adv_bnn":
        # With its authors' numbers the divergence outweighs the loss of so few images.
        config.model = {**config.model, "sigma": 0.02, "prior_sigma": 0.1}
        config.defense = {**config.defense, "alpha": 0.02}
    return settings.complete(config)
