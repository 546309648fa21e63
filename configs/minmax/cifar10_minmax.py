"""The eight CIFAR-10 networks that min-max attacks are tried on.

    python train.py --config=configs/minmax/cifar10_minmax.py:googlenet --workdir=runs/minmax/cifar10/googlenet

The text after the colon is a network, in the order of the models A to H: `mlp`, `all_cnn`,
`lenet`, `lenet_v2`, `cifar_vgg16`, `resnet50`, `madry_wrn`, `googlenet`. SGD with Nesterov
momentum 0.8 and weight decay 5e-4 for 250 epochs, its rate of 0.1 (E, F, G) or 0.01 (all
others) divided by ten at epochs 100 and 175, without augmentation: source as in
`configs/minmax/mnist_minmax.py`. Made for one GPU or more; not run here.
`python -m benchmarks.papers.minmax.tables runs/minmax --data=cifar10` trains and attacks them.
"""

from configs.minmax import mnist_minmax
from jaxadv.training import settings

FAST = ("cifar_vgg16", "resnet50", "madry_wrn")  # start at the larger rate
MODELS = (*mnist_minmax.MODELS, *FAST, "googlenet")


def get_config(text="mlp"):
    config = mnist_minmax.base(text, MODELS)
    config.epochs = 250
    config.data.name = "cifar10"
    config.data.validation = 1000
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1 if text in FAST else 0.01
    config.optimizer.momentum = 0.8
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "steps"
    config.schedule.drop_epochs = (100, 175)
    config.schedule.drop_factor = 0.1
    return settings.complete(config)
