"""A first look in seconds: FGSM, noise and a short PGD on 200 images.

The l-infinity eps is that of the checkpoint's training; `--config.eps=0.15` sets it.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def _linf():
    """A new placeholder each time: a shared one would be overridden everywhere."""
    return {"name": "linf", "eps": placeholder(float)}


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "quick"
    config.data = {"name": placeholder(str), "data_dir": placeholder(str)}
    config.split = "test"
    config.examples = 200
    config.seed = 0
    config.batch_size = 100
    config.chunk_steps = 5
    config.eps = placeholder(float)
    config.attacks = {
        "fgsm_linf": {"name": "fgsm", "threat": _linf()},
        "noise_linf": {"name": "uniform_noise", "threat": _linf(), "steps": 10},
        "pgd_linf": {
            "name": "pgd",
            "threat": _linf(),
            "steps": 10,
            "rel_step_size": 0.25,
            "restarts": 1,
            "early_stop": True,
        },
    }
    config.distances = {}
    config.overlap = placeholder(tuple)
    config.pictures = 6
    config.checks = "cheap"
    config.black_box = {"name": "uniform_noise", "steps": 100}
    return config
