"""A first look in seconds: FGSM, noise and a short PGD on 200 images.

The l-infinity eps is that of the checkpoint's training; `--config.eps=0.15` sets it.
"""

from configs.suites.base import ball, pgd, suite


def get_config():
    attacks = {
        "fgsm_linf": {"name": "fgsm", "threat": ball()},
        "noise_linf": {"name": "uniform_noise", "threat": ball(), "steps": 10},
        "pgd_linf": pgd(ball(), steps=10, rel_step_size=0.25, restarts=1),
    }
    return suite("quick", attacks, examples=200, batch_size=100)
