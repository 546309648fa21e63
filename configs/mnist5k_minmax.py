"""The four MNIST networks of the min-max attack paper on 5,000 digits.

    for model in mlp all_cnn lenet lenet_v2; do
      python train.py --config=configs/mnist5k_minmax.py --workdir=runs/minmax/$model \\
        --config.model.name=$model
    done

Adam with a constant rate of 0.001 as in the paper (Wang et al., 2021, appendix C.1),
30 epochs in place of 50. The last checkpoint is the network.
"""

from jaxadv import settings


def get_config():
    config = settings.default_config()
    config.epochs = 30
    config.batch_size = 128
    config.data.name = "mnist5k"
    config.data.validation = 400
    config.model = {"name": "mlp"}
    config.defense = {"name": "clean"}
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.schedule.name = "constant"
    return settings.complete(config)
