"""Self-bounded perceptual adversarial training (PAT) of a ResNet-50 on ImageNet-100.

    python train.py --config=configs/perceptual/imagenet100_pat_self.py --workdir=runs/imagenet100_pat_self

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, section 7 and table 12; the warm-up, the clipping and the ablations are the flags
of cifar10_pat_self.py. The augmentation is that of the authors' code; the pictures are cut while
they are read. Made for several GPUs or a pod; not run here.
"""

from configs.perceptual.cifar10_pat_self import fast_lpa, jitter
from jaxadv.training import settings


def get_config():
    config = settings.default_config()
    config.epochs = 90
    config.batch_size = 128
    config.data.name = "imagenet100"
    config.data.augment = (
        {"name": "resized_crop", "min_area": 0.08},
        {"name": "flip"},
        jitter(0.1),
        {"name": "lighting", "std": 0.05},
    )
    config.data.validation = 1000
    config.normalize.mean = (0.4717, 0.4499, 0.3837)
    config.normalize.std = (0.2600, 0.2516, 0.2575)
    config.model = {"name": "resnet50_imagenet"}
    config.defense = {"name": "adversarial", "only_attack_correct": True}
    config.attack = fast_lpa(0.25)
    config.validation.attack = fast_lpa(0.25, project=True)
    config.validation.batch_size = config.batch_size
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "steps"
    config.schedule.drop_epochs = (30, 60, 80)
    config.schedule.drop_factor = 0.1
    return settings.complete(config)
