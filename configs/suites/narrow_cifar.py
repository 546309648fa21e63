"""CIFAR-10 under the narrow threat models and two perceptual attacks.

    python eval.py --config=configs/suites/narrow_cifar.py --checkpoint=runs/cifar10_pat_self

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, table 2: AutoAttack at l-infinity 8/255 and at l2 1, StAdv and ReColorAdv; PPGD and
LPA at 0.5 in the authors' CIFAR AlexNet, `--config.attacks.lpa.threat.network.path` (and that of
`ppgd`). `narrow` is the union of the first four, and the means count them alone, as the table's
do. The steps of StAdv and ReColorAdv follow the sign of the gradient; theirs are Adam's.
"""

from configs.suites.autoattack import components
from configs.suites.base import external, functional, suite


def perceptual(eps, network):
    """PPGD and LPA in one external ball."""

    def threat():
        return {"name": "lpips", "eps": eps, "network": external(network)}

    return {
        "ppgd": {"name": "ppgd", "threat": threat(), "steps": 40},
        "lpa": {"name": "lpa", "threat": threat(), "rounds": 5, "round_steps": 40},
    }


def narrow(name, linf, l2, more, eps, network):
    """The suite of one table: AutoAttack twice, `more`, and the perceptual attacks."""
    cascades = {
        norm: components("standard", norm, bound, f"{norm}_")
        for norm, bound in (("linf", linf), ("l2", l2))
    }
    first, second = cascades.values()
    last = (list(first)[-1], list(second)[-1])
    attacks = {**first, **second, **more, **perceptual(eps, network)}
    return suite(
        name,
        attacks,
        cascades={norm: tuple(labels) for norm, labels in cascades.items()},
        unions={"narrow": (*last, *more), "all": tuple(attacks)},
        means=(*last, *more),
        overlap=(*last, "lpa"),
        batch_size=100,
        chunk_steps=10,
    )


def get_config():
    more = {
        "stadv": functional("stadv", 0.05, 100),
        "recolor": functional("recolor", 0.06, 100),
    }
    return narrow("narrow_cifar", 8 / 255, 1.0, more, 0.5, "cifar_alexnet")
