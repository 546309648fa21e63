"""l-infinity robustness of an image classifier, with an l2 attack beside it.

The l-infinity eps is that of the checkpoint's training; `--config.eps=0.15` sets it.
The l2 eps of 1.5 suits MNIST-like images; for 32 x 32 colors give
`--config.attacks.pgd_l2.threat.eps=0.5`.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def _linf():
    """A new placeholder each time: a shared one would be overridden everywhere."""
    return {"name": "linf", "eps": placeholder(float)}


def _pgd(threat, steps, rel_step_size, restarts=1):
    return {
        "name": "pgd",
        "threat": threat,
        "objective": {"name": "cross_entropy"},
        "steps": steps,
        "rel_step_size": rel_step_size,
        "restarts": restarts,
        "early_stop": True,
    }


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "linf"
    config.data = {"name": placeholder(str), "data_dir": placeholder(str)}
    config.split = "test"
    config.examples = 1000
    config.seed = 0
    config.batch_size = 128
    config.chunk_steps = 5
    config.eps = placeholder(float)
    config.attacks = {
        "fgsm_linf": {"name": "fgsm", "threat": _linf()},
        "noise_linf": {"name": "uniform_noise", "threat": _linf(), "steps": 20},
        "pgd_linf": _pgd(_linf(), steps=40, rel_step_size=0.1, restarts=3),
        "pgd_l2": _pgd({"name": "l2", "eps": 1.5}, steps=20, rel_step_size=0.2),
    }
    config.unions = {"union": placeholder(tuple)}
    config.seen = placeholder(tuple)
    config.curve = {
        "attack": _pgd(_linf(), steps=10, rel_step_size=0.25),
        "eps": placeholder(tuple),
        "points": 10,
        "up_to": 2.0,
        "examples": 256,
    }
    config.distances = {}
    config.overlap = placeholder(tuple)
    config.pictures = 6
    config.checks = "cheap"
    config.black_box = {"name": "uniform_noise", "steps": 100}
    config.about = {
        "link": "",
        "name": "",
        "authors": "",
        "additional_data": False,
        "venue": "",
        "reported": "",
        "footnote": "",
    }
    return config
