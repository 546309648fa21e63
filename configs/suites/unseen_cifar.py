"""CIFAR-10 under attacks seen and unseen in training, noise, blur and sparse changes.

    python eval.py --config=configs/suites/unseen_cifar.py --checkpoint=runs/cifar10_pgd_at
    python eval.py --config=configs/suites/unseen_cifar.py:no_alexnet --checkpoint=runs/…
    python eval.py --config=configs/suites/unseen_cifar.py:budgets --checkpoint=runs/…

Azizmalayeri and Rohban, "Lagrangian objective function leads to improved unforeseen attack
generalization in adversarial training", 2021, table 1, with its budgets and steps; `budgets` are
those of table 5. LPA is bounded in the CIFAR AlexNet, `--config.attacks.lpa.threat.network.path`,
or another network, `…network.name=stlpips_alexnet`, and takes their 200 steps in each of its five
rounds; `no_alexnet` leaves it out. Their "union mean" is the mean of all attacks here; the unseen
mean counts those outside `seen`. Noise is clipped to [0, 1], and PGD0 may change ten pixels, where
their code ends at nine.
"""

from configs.suites.base import (
    FUNCTIONAL,
    NO_ALEXNET,
    ball,
    calibrated,
    check_choice,
    external,
    functional,
    pgd,
    suite,
    sweep,
)

SEEN = ("linf", "l2", "lpa")


def corrupt(corruption):
    """One draw of a corruption, in the ball of all images."""
    return {"name": "corrupt", "corruption": corruption, "threat": ball("linf", 1.0)}


def attacks(linf, l2, lpa, network):
    """What the tables of both data sets share."""
    threat = {"name": "lpips", "eps": lpa, "network": external(network)}
    return {
        "linf": pgd(ball("linf", linf), 40, 2.5 / 40),
        "l2": pgd(ball("l2", l2), 40, 2.5 / 40),
        "lpa": {"name": "lpa", "threat": threat, "rounds": 5, "round_steps": 200},
        "recolor": functional("recolor", 0.06, 100),
        "stadv": functional("stadv", 0.05, 100),
        "elastic": calibrated("elastic", 0.5, 50),
        "jpeg": calibrated("jpeg", 0.125, 50),
        "noise": corrupt({"name": "gaussian_noise", "std": 0.05**0.5}),
        "blur": corrupt({"name": "gaussian_blur", "width": 1.5, "size": 5}),
    }


def unseen(name, which, found, **fields):
    """The suite of one table, or without LPA where `which` is `NO_ALEXNET`."""
    seen = SEEN
    if which == NO_ALEXNET:
        name, seen = f"{name}_{which}", tuple(label for label in SEEN if label != "lpa")
        found = {label: spec for label, spec in found.items() if label != "lpa"}
    notes = dict.fromkeys(("stadv", "recolor"), FUNCTIONAL)
    return suite(name, found, seen=seen, notes=notes, **fields)


def _budgets():
    found, sweeps = {}, {}
    for norm, eps in (
        ("linf", (6 / 255, 8 / 255, 10 / 255)),
        ("l2", (0.75, 1.0, 1.25)),
    ):
        spec = pgd(ball(norm, 0.0), 40, 2.5 / 40)
        more, sweeps[norm] = sweep(norm, spec, eps)
        found |= more
    return suite("unseen_cifar_budgets", found, sweeps=sweeps, overlap=())


def get_config(which="attacks"):
    check_choice("unseen_cifar", which, ("attacks", NO_ALEXNET, "budgets"))
    if which == "budgets":
        return _budgets()
    pixels = {"name": "l0", "eps": 10.0, "pixels": True}
    sparse = {"name": "pgd0", "threat": pixels, "steps": 200, "early_stop": True}
    found = attacks(8 / 255, 1.0, 0.5, "cifar_alexnet") | {"pgd0": sparse}
    return unseen("unseen_cifar", which, found, batch_size=100)
