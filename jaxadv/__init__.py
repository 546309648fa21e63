"""Adversarial attacks, adversarial training and robustness evaluation in JAX.

    import jaxadv as ja

    model = ja.Classifier.from_linen(module, variables)
    result = ja.evaluate(model, images, labels, "autoattack", norm="linf", eps=8 / 255)

Every name of `__all__` is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = ("attacks", "models", "objectives", "perceptual", "struct", "threats")
_HOMES = {
    "jaxadv.attacks": (
        "Apgd", "ApgdL1", "Ascent", "CarliniWagner", "Ddn", "DeepFool", "ElasticNet",
        "Fab", "FastLpa", "Fgsm", "Fmn", "Lpa", "MinMax", "Pgd0", "Ppgd", "Square",
        "UniformNoise",
    ),
    "jaxadv.checkpoints": ("load_classifier",),
    "jaxadv.classifier": ("Classifier",),
    "jaxadv.craft": ("Adversarial", "craft", "craft_batches", "craft_traced"),
    "jaxadv.evaluation.front": ("autoattack", "evaluate"),
    "jaxadv.evaluation.result": ("Result",),
    "jaxadv.objectives": (
        "DLR", "KL", "CrossEntropy", "Expectation", "Margin", "TargetedCrossEntropy",
        "TargetedMargin", "Weighted",
    ),
    "jaxadv.specs": ("UsageError",),
    "jaxadv.threats": (
        "L0", "L1", "L2", "Composed", "Linf", "LpipsBall", "Masked", "ReColor",
        "Shared", "StAdv",
    ),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(["__version__", *_MODULES, *_HOME])  # pyright: ignore


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"jaxadv.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxadv' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    # Importing `jaxadv.craft` has put that module here, which is callable.
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from jaxadv import attacks, models, objectives, perceptual, struct, threats
    from jaxadv.attacks import (
        Apgd,
        ApgdL1,
        Ascent,
        CarliniWagner,
        Ddn,
        DeepFool,
        ElasticNet,
        Fab,
        FastLpa,
        Fgsm,
        Fmn,
        Lpa,
        MinMax,
        Pgd0,
        Ppgd,
        Square,
        UniformNoise,
    )
    from jaxadv.checkpoints import load_classifier
    from jaxadv.classifier import Classifier
    from jaxadv.craft import Adversarial, craft, craft_batches, craft_traced
    from jaxadv.evaluation.front import autoattack, evaluate
    from jaxadv.evaluation.result import Result
    from jaxadv.objectives import (
        DLR,
        KL,
        CrossEntropy,
        Expectation,
        Margin,
        TargetedCrossEntropy,
        TargetedMargin,
        Weighted,
    )
    from jaxadv.specs import UsageError
    from jaxadv.threats import (
        L0,
        L1,
        L2,
        Composed,
        Linf,
        LpipsBall,
        Masked,
        ReColor,
        Shared,
        StAdv,
    )
