"""Clean training of a narrow ResNet on rendered colored shapes: what the others start from.

    python train.py --config=configs/baselines/shapes_clean.py --workdir=runs/shapes_clean

The other `shapes` configs take this one, train six epochs on clean images and two on attacked
ones; see docs/results/perceptual.md for what each of them reached.
"""

from jaxadv.training import settings


def base():
    """The fields that all `shapes` configs share; not completed."""
    config = settings.default_config()
    config.epochs = 8
    config.batch_size = 64
    config.data.name = "shapes"
    config.data.augment = ("flip",)
    config.data.validation = 500
    config.normalize.mean = (0.5, 0.5, 0.5)
    config.normalize.std = (0.25, 0.25, 0.25)
    config.model = {"name": "resnet18", "width": 16, "stage_sizes": (1, 1, 1)}
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 3e-3
    config.schedule.name = "cyclic"
    config.schedule.peak = 0.3
    return config


def get_config():
    return settings.complete(base())
