"""Transfer learning on STL-10: a ResNet-34 of ImageNet with a new head.

    python train.py --config=configs/dual/stl10_resnet34.py --workdir=runs/stl10_clean \\
        --config.init_from=weights/resnet34-b627a593.pth
    python train.py --config=configs/dual/stl10_resnet34.py:pgd --workdir=runs/stl10_pgd \\
        --config.init_from=weights/resnet34-b627a593.pth

Tong et al., "Towards robustness against unsuspicious adversarial examples", appendix: all layers
are trained by Adam for 20 epochs in batches of 64, at 1e-4 on clean images and at 1e-3 on attacked
ones, a tenth of it from epoch 8 and a hundredth from 15. `:pgd` trains on PGD of 50 steps in an l2
ball of 1. `--config.optimizer.rate_factors="('head=1','=0')"` trains the head alone.
"""

from configs.suites.base import check_choice
from jaxadv.training import settings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def get_config(which="clean"):
    check_choice("stl10_resnet34", which, ("clean", "pgd"))
    config = settings.default_config()
    config.epochs = 20
    config.batch_size = 64
    config.data.name = "stl10"
    config.data.augment = ("flip",)
    config.data.validation = 500
    config.normalize.mean, config.normalize.std = MEAN, STD
    config.model = {"name": "resnet34_imagenet"}
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-4
    config.schedule.name = "steps"
    config.schedule.drop_epochs = (8, 15)
    config.schedule.drop_factor = 0.1
    config.defense = {"name": "clean"}
    if which == "pgd":
        config.optimizer.learning_rate = 1e-3
        config.defense = {"name": "adversarial"}
        threat = {"name": "l2", "eps": 1.0}
        config.attack = {"name": "pgd", "threat": threat, "steps": 50}
        config.attack["rel_step_size"] = 2.5 / 50
        config.validation.steps = 20
    return settings.complete(config)
