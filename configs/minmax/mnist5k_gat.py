"""Generalized adversarial training on 5,000 MNIST digits, at a size that trains on two cores.

    python train.py --config=configs/minmax/mnist5k_gat.py:mlp,min_max --workdir=runs/mnist5k_gat

Networks, trainings and source as in `configs/minmax/mnist_gat.py`; 30 epochs of 10 steps in place of
350 of 20, those of `_raw` as long as there. `python -m benchmarks.papers.generalized.tables` trains and
compares all of them without `_raw`.
"""

from configs.minmax import mnist_gat
from jaxadv.training import settings


def get_config(text="mlp,min_max"):
    config = mnist_gat.base(text, steps=10)
    config.epochs = 30
    config.data.name = "mnist5k"
    config.data.validation = 400
    config.validation.steps = 10
    for attack in (config.attack, *config.attacks.values()):
        if attack and attack["steps"] > 1 and "rel_step_size" in attack:
            attack["rel_step_size"] = 0.2
    return settings.complete(config)
