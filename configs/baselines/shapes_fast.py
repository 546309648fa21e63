"""Training of one step, with and without what keeps it from its collapse.

    python train.py --config=configs/baselines/shapes_fast.py:n_fgsm --workdir=runs/n_fgsm

Behind the colon: `fgsm` (Goodfellow et al., 2015), `rs` (a random start and a step of 1.25 eps: Wong,
Rice and Kolter, 2020), `n_fgsm` (de Jorge et al., 2022) or `grad_align` (Andriushchenko and
Flammarion, 2020).
"""

from configs.baselines import shapes_pgd_at
from jaxadv.specs import UsageError
from jaxadv.training import settings

METHODS = ("fgsm", "rs", "n_fgsm", "grad_align")


def get_config(method="n_fgsm"):
    if method not in METHODS:
        raise UsageError(
            f"shapes_fast has no method {method!r}; give one of {', '.join(METHODS)}"
        )
    config = shapes_pgd_at.get_config()
    threat = {"name": "linf", "eps": 8 / 255}
    config.attack = {"name": "fgsm", "threat": threat}
    if method == "rs":
        config.attack = {
            "name": "pgd", "threat": threat, "steps": 1, "rel_step_size": 1.25,
        }  # fmt: skip
    if method in ("n_fgsm", "grad_align"):
        config.defense = {"name": method}
    return settings.complete(config)
