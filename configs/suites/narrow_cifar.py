"""CIFAR-10 under the narrow threat models and two perceptual attacks.

    python eval.py --config=configs/suites/narrow_cifar.py --checkpoint=runs/cifar10_pat_self
    python eval.py --config=configs/suites/narrow_cifar.py:no_alexnet --checkpoint=runs/…

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, table 2: AutoAttack at l-infinity 8/255 and at l2 1, StAdv and ReColorAdv; PPGD and
LPA at 0.5 in the authors' CIFAR AlexNet, `--config.attacks.lpa.threat.network.path` (and that of
`ppgd`), or in another network, `--config.attacks.lpa.threat.network.name=stlpips_alexnet`.
`no_alexnet` leaves these two out and needs no weights. `narrow` is the union of the first four, and
the means count them alone, as the table's do. StAdv and ReColorAdv are not searched as theirs, and
the report says so; with `authors`, also behind `no_alexnet,`, they are.
"""

from configs.suites.autoattack import components
from configs.suites.base import (
    FUNCTIONAL,
    NO_ALEXNET,
    PUBLISHED,
    check_choice,
    external,
    functional,
    published,
    suite,
)

AUTHORS = "authors"
CHOICES = ("attacks", NO_ALEXNET, AUTHORS, f"{NO_ALEXNET},{AUTHORS}")


def perceptual(eps, network):
    """PPGD and LPA in one external ball."""

    def threat():
        return {"name": "lpips", "eps": eps, "network": external(network)}

    return {
        "ppgd": {"name": "ppgd", "threat": threat(), "steps": 40},
        "lpa": {"name": "lpa", "threat": threat(), "rounds": 5, "round_steps": 40},
    }


def narrow(name, which, linf, l2, steps, eps, network, more=None, **fields):
    """The suite of one table: AutoAttack twice, `more`, StAdv and ReColorAdv, and the
    perceptual attacks.

    `which` is of `CHOICES`: `NO_ALEXNET` leaves the perceptual attacks out, `AUTHORS`
    searches flows and colors as their authors do.
    """
    check_choice(name, which, CHOICES)
    search = published if AUTHORS in which else functional
    more = {
        **(more or {}),
        "stadv": search("stadv", 0.05, steps),
        "recolor": search("recolor", 0.06, steps),
    }
    notes = dict.fromkeys(("stadv", "recolor"), FUNCTIONAL)
    if AUTHORS in which:
        name, notes = f"{name}_{AUTHORS}", PUBLISHED
    cascades = {
        norm: components("standard", norm, bound, f"{norm}_")
        for norm, bound in (("linf", linf), ("l2", l2))
    }
    first, second = cascades.values()
    last = (list(first)[-1], list(second)[-1])
    attacks = {**first, **second, **more}
    if NO_ALEXNET in which:
        name, third = f"{name}_{NO_ALEXNET}", "stadv"
    else:
        attacks, third = attacks | perceptual(eps, network), "lpa"
    return suite(
        name,
        attacks,
        cascades={norm: tuple(labels) for norm, labels in cascades.items()},
        unions={"narrow": (*last, *more), "all": tuple(attacks)},
        means=(*last, *more),
        notes=notes,
        overlap=(*last, third),
        batch_size=100,
        chunk_steps=10,
        **fields,
    )


def get_config(which="attacks"):
    return narrow("narrow_cifar", which, 8 / 255, 1.0, 100, 0.5, "cifar_alexnet")
