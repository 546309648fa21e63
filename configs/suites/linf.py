"""l-infinity robustness of an image classifier, with an l2 attack beside it.

The l-infinity eps is that of the checkpoint's training; `--config.eps=0.15` sets it.
The l2 eps of 1.5 suits MNIST-like images; for 32 x 32 colors give
`--config.attacks.pgd_l2.threat.eps=0.5`.
"""

from ml_collections.config_dict import placeholder

from configs.suites.base import ball, pgd, suite


def get_config():
    attacks = {
        "fgsm_linf": {"name": "fgsm", "threat": ball()},
        "noise_linf": {"name": "uniform_noise", "threat": ball(), "steps": 20},
        "pgd_linf": pgd(ball(), steps=40, rel_step_size=0.1, restarts=3),
        "pgd_l2": pgd(ball("l2", 1.5), steps=20, rel_step_size=0.2),
    }
    curve = {
        "attack": pgd(ball(), steps=10, rel_step_size=0.25),
        "eps": placeholder(tuple),
        "points": 10,
        "up_to": 2.0,
        "examples": 256,
    }
    return suite("linf", attacks, curve=curve)
