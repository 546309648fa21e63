"""Transfer learning on STL-10: a ResNet-34 of ImageNet with a new head.

    python train.py --config=configs/dual/stl10_resnet34.py --workdir=runs/stl10_clean \\
        --config.init_from=weights/resnet34-b627a593.pth
    python train.py --config=configs/dual/stl10_resnet34.py:dual --workdir=runs/stl10_dual \\
        --config.init_from=weights/resnet34-b627a593.pth

Tong et al., "Towards robustness against unsuspicious adversarial examples", appendix: all layers
are trained by Adam for 20 epochs in batches of 64, at 1e-4 on clean images and at 1e-3 on attacked
ones, a tenth of it from epoch 8 and a hundredth from 15. `:pgd` trains on PGD of 50 steps in an l2
ball of 1, `:dual` in l2 balls of 1 on the foreground and 5 behind it, of masks that `jaxadv masks`
has stored. `:pgd,linf` and `:dual,linf` take 10 steps and 4/255 and 20/255.
`--config.optimizer.rate_factors="('head=1','=0')"` trains the head alone.
"""

from configs.suites.base import check_choice
from jaxadv.training import settings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STEPS = {"l2": 50, "linf": 10}
BUDGETS = {"l2": (1.0, 5.0), "linf": (4 / 255, 20 / 255)}


def recipe(data, text, budgets):
    """What the appendix trains on every set, for its clean, PGD or dual perturbations."""
    which, _, norm = text.partition(",")
    norm = norm or "l2"
    check_choice(f"{data}_resnet34", which, ("clean", "pgd", "dual"))
    check_choice(f"{data}_resnet34", norm, tuple(budgets))
    config = settings.default_config()
    config.epochs = 20
    config.batch_size = 64
    config.data.name = data
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
    if which != "clean":
        config.optimizer.learning_rate = 1e-3
        config.defense = {"name": "adversarial"}
        config.attack = {"name": "pgd", "threat": _threat(which, norm, *budgets[norm])}
        config.attack["steps"] = STEPS[norm]
        config.attack["rel_step_size"] = 2.5 / STEPS[norm]
        config.validation.steps = 20
    return config


def get_config(text="clean"):
    return settings.complete(recipe("stl10", text, BUDGETS))


def _threat(which, norm, foreground, background):
    if which == "pgd":
        return {"name": norm, "eps": foreground}
    return {
        "name": "masked",
        "foreground": {"name": norm, "eps": foreground},
        "background": {"name": norm, "eps": background},
        "mask": "dataset",
    }
