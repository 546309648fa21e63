"""PGD adversarial training of a narrow ResNet on rendered colored shapes.

    python train.py --config=configs/shapes_pgd_at.py --workdir=runs/shapes_pgd_at

Measured with seed 0 on two cores that were also busy with other work: 100 to 200 images a
second, in runs that were interrupted and resumed; of the 500 held-out images 68.0 % correct and 51.8 % under PGD-10.
It has not converged by then; give it more epochs where there is a GPU.
"""

from jaxadv import settings


def get_config():
    config = settings.default_config()
    config.epochs = 8
    config.batch_size = 128
    config.data.name = "shapes"
    config.data.augment = ("flip",)
    config.data.validation = 500
    config.normalize.mean = (0.5, 0.5, 0.5)
    config.normalize.std = (0.25, 0.25, 0.25)
    config.model = {"name": "resnet18", "width": 16, "stage_sizes": (1, 1, 1)}
    config.defense = {"name": "adversarial"}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 4 / 255},
        "steps": 4,
        "rel_step_size": 0.5,
    }
    config.validation.steps = 10
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 3e-3
    config.schedule.name = "cyclic"
    config.schedule.peak = 0.3
    return settings.complete(config)
