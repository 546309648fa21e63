"""Rendered shapes under attacks seen and unseen in training, noise, blur and sparse changes.

    python eval.py --config=configs/suites/unseen_shapes.py --checkpoint=runs/shapes_pgd_at
    python eval.py --config=configs/suites/unseen_shapes.py:no_alexnet --checkpoint=runs/…
    python eval.py --config=configs/suites/unseen_shapes.py:budgets --checkpoint=runs/…
    python eval.py --config=configs/suites/unseen_shapes.py:gray --checkpoint=runs/…

The ten attacks of table 1 of Azizmalayeri and Rohban, "Lagrangian objective function leads to
improved unforeseen attack generalization in adversarial training", 2021, at a size for two cores:
200 images, few steps, and budgets of half theirs or less except for recolor and blur, at which a
network trained by shapes_pgd_at.py is right on a third to two thirds of the images that it knows.
See unseen_cifar.py for what the means count. LPA is bounded in the network of
configs/perceptual/shapes_alexnet.py, `--config.attacks.lpa.threat.network.path`; with `stlpips` in
that of the package stlpips_pytorch (see perceptual.py); `no_alexnet` leaves LPA out. `gray` is for clothes and digits of one channel: it has no LPA, ReColorAdv and JPEG,
and larger lp balls. `budgets` are 0.75, 1 and 1.25 times those of `linf` and `l2`, as in table 5.
"""

from configs.suites.base import (
    ball,
    calibrated,
    check_choice,
    functional,
    pgd,
    suite,
    sweep,
)
from configs.suites.perceptual import BALLS
from configs.suites.unseen_cifar import NO_ALEXNET, corrupt, unseen

LINF, L2 = 4 / 255, 0.5
SCALES = (0.75, 1.0, 1.25)
SIZE = {"examples": 200, "batch_size": 100}


def _lp(name, eps):
    return pgd(ball(name, eps), 20, 0.1)


def _attacks(which="run"):
    network, eps = BALLS[which]
    threat = {"name": "lpips", "eps": eps, "network": dict(network)}
    pixels = {"name": "l0", "eps": 5.0, "pixels": True}
    return {
        "linf": _lp("linf", LINF),
        "l2": _lp("l2", L2),
        "lpa": {"name": "lpa", "threat": threat, "rounds": 5, "round_steps": 8},
        "recolor": functional("recolor", 0.06, 20),
        "stadv": functional("stadv", 0.02, 20),
        "elastic": calibrated("elastic", 0.25, 20),
        "jpeg": calibrated("jpeg", 0.0625, 20),
        "noise": corrupt({"name": "gaussian_noise", "std": 0.08}),
        "blur": corrupt({"name": "gaussian_blur", "width": 1.5, "size": 5}),
        "pgd0": {"name": "pgd0", "threat": pixels, "steps": 40, "early_stop": True},
    }


def _gray():
    """What of the ten attacks can be asked of images of one channel."""
    found = {k: v for k, v in _attacks().items() if k not in ("lpa", "recolor", "jpeg")}
    found["linf"], found["l2"] = _lp("linf", 0.1), _lp("l2", 1.0)
    return suite("unseen_shapes_gray", found, seen=("linf", "l2"), **SIZE)


def _budgets():
    found, sweeps = {}, {}
    for norm, eps in (("linf", LINF), ("l2", L2)):
        more, sweeps[norm] = sweep(norm, _lp(norm, eps), [s * eps for s in SCALES])
        found |= more
    return suite("unseen_shapes_budgets", found, sweeps=sweeps, overlap=(), **SIZE)


def get_config(which="attacks"):
    known = ("attacks", NO_ALEXNET, "stlpips", "budgets", "gray")
    check_choice("unseen_shapes", which, known)
    if which == "gray":
        return _gray()
    if which == "budgets":
        return _budgets()
    more = {"distances": {"l2": {"name": "l2"}}, **SIZE}
    if which == "stlpips":
        return unseen(f"unseen_shapes_{which}", "attacks", _attacks(which), **more)
    return unseen("unseen_shapes", which, _attacks(), **more)
