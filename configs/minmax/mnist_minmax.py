"""The four MNIST networks that min-max attacks are tried on.

    python train.py --config=configs/minmax/mnist_minmax.py:lenet --workdir=runs/minmax/mnist/lenet

The text after the colon is a network: `mlp`, `all_cnn`, `lenet` or `lenet_v2`. Adam with a
constant rate of 0.001 for 50 epochs, without augmentation: Wang et al., "Adversarial attack
generation empowered by min-max optimization", 2021 (in the version of 2019 "Towards a unified
min-max framework for adversarial exploration and robustness"), appendix C.1. The last
checkpoint is the network. `python -m benchmarks.papers.minmax.tables runs/minmax --data=mnist` trains and
attacks all of them.
"""

from jaxadv.specs import UsageError
from jaxadv.training import settings

MODELS = ("mlp", "all_cnn", "lenet", "lenet_v2")


def base(name, models=MODELS):
    """The config of one of `models`, as in the module's docstring, without data."""
    if name not in models:
        raise UsageError(
            f"--config: {name!r} is not a network of this config; give one after the "
            f"colon: {', '.join(models)}"
        )
    config = settings.default_config()
    config.epochs = 50
    config.batch_size = 128
    config.model = {"name": name}
    config.defense = {"name": "clean"}
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    return config


def get_config(text="mlp"):
    config = base(text)
    config.data.name = "mnist"
    config.data.validation = 1000
    return settings.complete(config)
