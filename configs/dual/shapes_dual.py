"""Adversarial training on dual perturbations (AT-Dual) of rendered shapes.

    python train.py --config=configs/dual/shapes_dual.py --workdir=runs/shapes_dual

Tong et al., "Towards robustness against unsuspicious adversarial examples", appendix A, at a size
for two cores: PGD of five steps in the l2 balls of 0.25 on the object and 1.25 behind it, each
projected and stepped by itself, with the exact masks of the set and without the saliency term, as
they train. Six clean epochs come first. `:linf` trains in linf balls of 4/255 and 20/255.
"""

from configs.baselines import shapes_clean
from configs.suites.base import check_choice
from jaxadv.training import settings

BUDGETS = {"l2": (0.25, 1.25), "linf": (4 / 255, 20 / 255)}


def dual(norm="l2", steps=5, rel_step_size=0.5, **fields):
    """PGD on dual perturbations, whose mask is the data set's."""
    foreground, background = ({"name": norm, "eps": eps} for eps in BUDGETS[norm])
    threat = {
        "name": "masked",
        "foreground": foreground,
        "background": background,
        "mask": "dataset",
    }
    return {
        "name": "pgd",
        "threat": threat,
        "steps": steps,
        "rel_step_size": rel_step_size,
        **fields,
    }


def get_config(norm="l2"):
    check_choice("shapes_dual", norm, tuple(BUDGETS))
    config = shapes_clean.base()
    config.clean_epochs = 6
    config.defense = {"name": "adversarial"}
    config.attack = dual(norm)
    config.validation.steps = 10
    return settings.complete(config)
