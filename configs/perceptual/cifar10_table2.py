"""Every training of the CIFAR-10 table, row by row.

    python train.py --config=configs/perceptual/cifar10_table2.py:linf --workdir=runs/linf

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, table 2. Behind the colon: `normal`; adversarial training against `linf` (8/255), `l2`
(1), `stadv` (0.05) or `recolor` (0.06), 10 steps each; against all four, `random`, `average` or
`maximum`; `trades` (beta 6, a WRN-34-10); `pat_self` and `pat_alexnet`, as cifar10_pat_self.py and
cifar10_pat_alexnet.py. Network, augmentation and schedule are those of PAT. As in the authors' code,
balls are searched in steps of eps / sqrt(10), flows and colors by Adam from no change. PAT's last
checkpoint is the one to judge (`--which=last`), because its ball changes with the network; the others
are validated by their own attack. Made for one GPU or more; not run here.
"""

from configs.perceptual import cifar10_pat_alexnet, cifar10_pat_self
from configs.suites.base import published
from configs.suites.narrow_cifar import BUDGETS
from jaxadv.specs import UsageError
from jaxadv.training import settings

STEPS = 10
ALL = ("random", "average", "maximum")


def ball(name, eps, steps=STEPS):
    """PGD as the authors train with it."""
    return {
        "name": "pgd",
        "threat": {"name": name, "eps": eps},
        "steps": steps,
        "rel_step_size": steps**-0.5,
    }


def narrow(budgets, steps=STEPS, **more):
    """The attacks of a table, label -> spec."""
    return {
        "linf": ball("linf", budgets.linf, steps),
        "l2": ball("l2", budgets.l2, steps),
        "stadv": published("stadv", budgets.stadv, steps),
        "recolor": published("recolor", budgets.recolor, steps),
        **more,
    }


def row(config, attacks, which, known):
    """A training of PAT's config with other attacks."""
    config.attack, config.attacks, config.validation.attack = {}, {}, {}
    if which == "normal":
        config.defense = {"name": "clean"}
    elif which in ALL:
        config.defense = {"name": "adversarial", "mode": which}
        config.attacks = attacks
    elif which in attacks:
        config.defense = {"name": "adversarial"}
        config.attack = attacks[which]
    else:
        raise UsageError(
            f"this table has no row {which!r}; it has normal, {', '.join(attacks)}, "
            f"{', '.join((*ALL, *known))}"
        )
    return settings.complete(config)


def get_config(which="pat_self"):
    if which == "pat_self":
        return cifar10_pat_self.get_config()
    if which == "pat_alexnet":
        return cifar10_pat_alexnet.get_config()
    config, attacks = cifar10_pat_self.get_config(), narrow(BUDGETS)
    if which == "trades":
        config = row(config, attacks, "linf", ())
        config.model = {"name": "wrn_34_10"}
        config.normalize.mean, config.normalize.std = (0.0,), (1.0,)
        config.defense = {"name": "trades"}
        return settings.complete(config)
    return row(config, attacks, which, ("trades", "pat_self", "pat_alexnet"))
