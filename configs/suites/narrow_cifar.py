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

import dataclasses

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


@dataclasses.dataclass(frozen=True)
class Budgets:
    """The bounds of one table: radii of lp balls in [0, 1] units, and of the others."""

    linf: float
    l2: float
    lpips: float
    stadv: float = 0.05
    recolor: float = 0.06


BUDGETS = Budgets(8 / 255, 1.0, 0.5)


def perceptual(eps, network, steps):
    """PPGD and LPA in one external ball; a round of LPA has as many steps as PPGD."""

    def threat():
        return {"name": "lpips", "eps": eps, "network": external(network)}

    return {
        "ppgd": {"name": "ppgd", "threat": threat(), "steps": steps},
        "lpa": {"name": "lpa", "threat": threat(), "rounds": 5, "round_steps": steps},
    }


def narrow(
    name,
    which,
    budgets,
    steps,
    network,
    more=None,
    version="standard",
    perceptual_steps=40,
    **fields,
):
    """The suite of one table: AutoAttack twice, `more`, StAdv and ReColorAdv, and the
    perceptual attacks.

    `which` is of `CHOICES`: `NO_ALEXNET` leaves the perceptual attacks out, `AUTHORS`
    searches flows and colors as their authors do. `version` is AutoAttack's.
    """
    check_choice(name, which, CHOICES)
    search = published if AUTHORS in which else functional
    more = {
        **(more or {}),
        "stadv": search("stadv", budgets.stadv, steps),
        "recolor": search("recolor", budgets.recolor, steps),
    }
    notes = dict.fromkeys(("stadv", "recolor"), FUNCTIONAL)
    if AUTHORS in which:
        name, notes = f"{name}_{AUTHORS}", PUBLISHED
    cascades = {
        norm: components(version, norm, bound, f"{norm}_")
        for norm, bound in (("linf", budgets.linf), ("l2", budgets.l2))
    }
    first, second = cascades.values()
    last = (list(first)[-1], list(second)[-1])
    attacks = {**first, **second, **more}
    if NO_ALEXNET in which:
        name, third = f"{name}_{NO_ALEXNET}", "stadv"
    else:
        found = perceptual(budgets.lpips, network, perceptual_steps)
        attacks, third = attacks | found, "lpa"
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
    return narrow("narrow_cifar", which, BUDGETS, 100, "cifar_alexnet")
