"""What the suites share: the fields of a suite config, and common attack specs."""

import copy

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from jaxadv import schema
from jaxadv.evaluation.suite.declared import Fields
from jaxadv.specs import UsageError

# The text after the colon of suites that run without the weights of an AlexNet too.
NO_ALEXNET = "no_alexnet"
# The network of a package, which LPIPS of ImageNet's size is measured in where that of
# a suite is not on the machine.
STLPIPS = "stlpips_alexnet"


def suite(name, attacks, **fields) -> ConfigDict:
    """A suite config with every field there is, so that flags can set each of them.

    Fields that are None in `fields` are placeholders of their type.
    """
    config = schema.config(Fields).unlock()
    config.name, config.attacks, config.examples = name, attacks, 1000
    for field, value in fields.items():
        config[field] = value
    return config


def ball(name="linf", eps=None):
    """An lp threat spec; without an eps that of the checkpoint's training.

    A new placeholder each time: a shared one would be overridden everywhere.
    """
    return {"name": name, "eps": placeholder(float) if eps is None else eps}


def check_choice(file, which, allowed):
    """Raises UsageError unless `which`, the text after the colon, is of `allowed`."""
    if which not in allowed:
        raise UsageError(f"{file} has no {which!r}; allowed: {', '.join(allowed)}")


# What the reports say of `functional`.
FUNCTIONAL = (
    "not its authors' search, so that published numbers may differ: steps follow the "
    "sign of the gradient from a random start, where theirs are Adam's from no change, "
    "and their penalty on roughness is left out unless threat.smooth is set"
)


def functional(name, eps, steps):
    """StAdv or ReColorAdv by signed gradient steps on the margin; see `FUNCTIONAL`."""
    return pgd(ball(name, eps), steps, 0.05, objective={"name": "margin"})


# Adam's learning rate, and roughness times eps, of StAdv and ReColorAdv in the code of
# Laidlaw, Singla and Feizi (2021).
_ADAM = {"stadv": (0.01, 0.0025), "recolor": (0.001, 0.0036)}
# What the reports say of `published`.
PUBLISHED = {
    "recolor": "its authors' search, but for their table of colors, which moves saturated "
    "colors before any step"
}


def published(name, eps, steps):
    """StAdv or ReColorAdv as their authors search: Adam from no change; the last point."""
    rate, roughness = _ADAM[name]
    return {
        "name": "adam",
        "threat": ball(name, eps),
        "objective": {"name": "margin"},
        "steps": steps,
        "learning_rate": rate,
        "penalty": roughness / eps,
    }


def calibrated(name, eps, steps):
    """One of Kang et al.'s attacks, in steps of 1/sqrt(steps) of the budget.

    So are theirs but for fog, gabor and snow; see `evaluation.calibration`.
    """
    return pgd(ball(name, eps), steps, steps**-0.5)


def external(name):
    """An external network's spec, whose weights `...network.path` names.

    Where AlexNet is asked for and its weights are not there, `STLPIPS` stands in.
    """
    otherwise = STLPIPS if name == "alexnet" else placeholder(str)
    return {"name": name, "path": placeholder(str), "otherwise": otherwise}


def sweep(label, spec, budgets, ata=None):
    """(attacks, sweep): one attack at ascending budgets, as `label_1`, `label_2`, …"""
    attacks = {
        f"{label}_{i}": {
            **copy.deepcopy(spec),
            "threat": {**spec["threat"], "eps": eps},
        }
        for i, eps in enumerate(budgets, start=1)
    }
    return attacks, {"attacks": tuple(attacks), "ata": ata}


def pgd(threat, steps, rel_step_size, **fields):
    """PGD that stops at the first success."""
    return {
        "name": "pgd",
        "threat": threat,
        "objective": {"name": "cross_entropy"},
        "steps": steps,
        "rel_step_size": rel_step_size,
        "step_size": placeholder(float),
        "early_stop": True,
        **fields,
    }
