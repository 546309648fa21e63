"""One instance of every registered threat and attack, for tests by registration.

A threat or attack that is registered and not listed here is built from its
defaults (a threat with eps 0.5), so it is covered at once.
"""

from jaxadv import specs
from jaxadv.attacks import ATTACKS
from jaxadv.threats import THREATS

_THREATS = {
    "composed": {
        "parts": [
            {"name": "stadv", "eps": 0.1},
            {"name": "recolor", "eps": 0.1, "table": (3, 3, 3)},
            {"name": "linf", "eps": 0.05},
        ]
    },
    "jpeg": {"eps": 20.0, "ball": "l2"},
    "l0": {"eps": 5.0},
    "l1": {"eps": 2.0},
    "l2": {"eps": 0.6},
    "linf": {"eps": 0.1},
    "masked": {
        "foreground": {"name": "l2", "eps": 0.3},
        "background": {"name": "linf", "eps": 0.2},
    },
    "patch": {"eps": 3.0},
    "shared": {"threat": {"name": "l2", "eps": 0.6}},
    "recolor": {"eps": 0.2, "smooth": 0.05, "table": (4, 3, 3)},
    "stadv": {"eps": 0.2, "smooth": 0.05},
    "unbounded": {},
    "union": {
        "parts": [
            {"name": "linf", "eps": 0.1},
            {"name": "l2", "eps": 0.6},
            {"name": "l1", "eps": 2.0},
        ]
    },
}
_ATTACKS = {
    "adam": {"steps": 4, "learning_rate": 0.05},
    "apgd": {"steps": 8},
    "apgd_l1": {"steps": 10},
    "carlini_wagner": {"rounds": 2, "round_steps": 3, "search": 2},
    "ddn": {"steps": 6, "search": 2},
    "deepfool": {"steps": 5},
    "elastic_net": {"rounds": 2, "round_steps": 3, "search": 2},
    "fab": {"round_steps": 3, "targets": 2, "starts": 2, "search": 2},
    "fast_lpa": {"steps": 4, "project": True},
    "few_pixel": {"steps": 4, "population": 8},
    "fgsm": {},
    "fmn": {"steps": 6, "search": 2},
    "grid": {"points": (3, 2, 1)},
    "hop_skip_jump": {"steps": 60, "init_evals": 8},
    "jsma": {"round_steps": 3, "targets": 2},
    "lpa": {"rounds": 2, "round_steps": 3},
    "min_max": {"steps": 4},
    "msd": {"steps": 4},
    "pgd": {"steps": 4, "rel_step_size": 0.5},
    "pgd0": {"steps": 6, "round_steps": 2},
    "ppgd": {"steps": 4},
    "sparse_rs": {"steps": 12},
    "square": {"steps": 12},
    "uniform_noise": {"steps": 4},
}


_SEARCHES = {
    "apgd_l1": ("l1",),
    "carlini_wagner": ("l2",),
    "corrupt": ("linf", "l2", "l1", "l0"),
    "ddn": ("l2",),
    "deepfool": ("linf", "l2", "l1"),
    "elastic_net": ("l1",),
    "fab": ("linf", "l2", "l1"),
    "fast_lpa": ("lpips",),
    "few_pixel": ("l0",),
    "fmn": ("linf", "l2", "l1", "l0"),
    "grid": ("rotation_translation",),
    "hop_skip_jump": ("l2", "linf"),
    "jsma": ("l0",),
    "lagrangian": ("unbounded",),
    "lpa": ("lpips",),
    "min_max": ("linf", "l2", "l1", "l0", "shared"),
    "msd": ("union",),
    "pgd0": ("l0",),
    "ppgd": ("lpips",),
    "sparse_rs": ("l0", "patch"),
    "square": ("linf", "l2"),
}


def fits(attack_name, threat_name):
    """Whether the attack searches the threat; most search all of them."""
    if attack_name == "fgsm":
        return hasattr(THREATS[threat_name], "maximize")
    return threat_name in _SEARCHES.get(attack_name, THREATS)


def threat_for(attack_name, otherwise="linf"):
    """The name of a threat that the attack searches."""
    return _SEARCHES.get(attack_name, (otherwise,))[0]


def threat(name):
    spec = {"name": name, **_THREATS.get(name, {"eps": 0.5})}
    return specs.build(spec, THREATS, name)


def attack(name, of_threat, **fields):
    spec = {"name": name, "threat": of_threat, **_ATTACKS.get(name, {}), **fields}
    return specs.build(spec, ATTACKS, name)
