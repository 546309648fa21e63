"""Generalized adversarial training against l-infinity and l2 attacks on MNIST.

    python train.py --config=configs/minmax/mnist_gat.py:lenet,min_max_dpar --workdir=runs/gat

The text after the colon is a network, `mlp` or `lenet`, and a training: `natural`, `linf`, `l2`
(one type of attack), `average`, `min_max`, either of these with `_dpar`, or `usgd` (one
perturbation for all images); `_raw` at the end of `average`, `min_max` or their `_dpar` takes the
source's steps. Wang et al., "Adversarial attack generation empowered by min-max optimization",
2021 (in the version of 2019 "Towards a unified min-max framework for adversarial exploration and
robustness"), tables 4, A7 and A8; A8 varies `--config.attacks.l2.threat.eps` from 0.5 to 3.0
(`config.attack.threat.eps` of `l2`).

Their 350 epochs of 20 steps; not run here. Their steps move by 1/6 of the raw gradient, as those
of `mlp,min_max_raw` do; without `_raw` they are normalized, which finds larger losses.
"""

from configs.minmax import mnist_minmax
from jaxadv.specs import UsageError
from jaxadv.training import settings

MODELS = ("mlp", "lenet")
TRAININGS = (
    "natural", "linf", "l2", "average", "average_dpar", "min_max", "min_max_dpar", "usgd"
)  # fmt: skip
RAW, RAW_STEP = "_raw", 1 / 6
EPS = {"linf": 0.2, "l2": 2.0}
UNIVERSAL_EPS = 0.3
DIVERSITY = 0.1


def pgd(norm, eps, steps=20, **size):
    """A PGD spec in one ball; `size` is that of a step, by default a tenth of eps."""
    threat = {"name": norm, "eps": eps}
    size = size or {"rel_step_size": 0.1}
    return {"name": "pgd", "threat": threat, "steps": steps, **size}


def train(config, training, steps):
    """Sets the defense and the attacks of one row of the tables."""
    if training == "natural":
        config.defense = {"name": "clean"}
    elif training in EPS:
        config.defense = {"name": "adversarial", "alpha": 0.5, "beta": 0.5}
        config.attack = pgd(training, EPS[training], steps)
    elif training == "usgd":
        config.defense = {"name": "universal"}
        config.attack = pgd("linf", UNIVERSAL_EPS, steps=1, rel_step_size=1.0)
    else:
        name = training.removesuffix(RAW)
        weighting, size = name.removesuffix("_dpar"), {}
        config.defense = {"name": "generalized", "weighting": weighting}
        if name != weighting:
            config.defense.diversity = DIVERSITY
        if name != training:
            config.defense.gradient, size = "raw", {"step_size": RAW_STEP}
        config.attacks = {n: pgd(n, eps, steps, **size) for n, eps in EPS.items()}


def base(text, steps=20):
    """The config of a network and a training, as in the module's docstring."""
    model, _, training = text.partition(",")
    generalized = [t for t in TRAININGS if t.startswith(("average", "min_max"))]
    allowed = (*TRAININGS, *(t + RAW for t in generalized))
    if training not in allowed:
        raise UsageError(
            f"--config: {training!r} in {text!r}; give a network and a training, such "
            f"as 'mlp,min_max'; allowed here: {', '.join(allowed)}"
        )
    config = mnist_minmax.base(model, MODELS)
    train(config, training, steps)
    return config


def get_config(text="mlp,min_max"):
    config = base(text)
    config.epochs = 350
    config.data.name = "mnist"
    config.data.validation = 1000
    return settings.complete(config)
