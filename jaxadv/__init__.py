"""Adversarial attacks, adversarial training and robustness evaluation in JAX.

    import jaxadv as ja

    model = ja.Classifier.from_linen(module, variables)
    result = ja.evaluate(model, images, labels, "autoattack", norm="linf", eps=8 / 255)

Every name of `__all__` is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_MODULES = ("attacks", "models", "objectives", "perceptual", "struct", "threats")
_HOMES = {
    "jaxadv.attacks": (
        "Apgd", "ApgdL1", "Ascent", "CarliniWagner", "Ddn", "DeepFool", "ElasticNet",
        "Fab", "FastLpa", "FewPixel", "Fgsm", "Fmn", "Jsma",
        "Lagrangian", "Lpa", "MinMax", "Msd", "Pgd0", "Ppgd", "Square",
        "UniformNoise",
    ),
    "jaxadv.classifier": ("Classifier",),
    "jaxadv.craft": ("Adversarial", "craft", "craft_batches", "craft_traced"),
    "jaxadv.evaluation.front": ("autoattack", "evaluate"),
    "jaxadv.evaluation.result": ("Result",),
    "jaxadv.loading": ("load",),
    "jaxadv.objectives": (
        "DLR", "KL", "CrossEntropy", "Expectation", "Margin", "TargetedCrossEntropy",
        "TargetedMargin", "Weighted",
    ),
    "jaxadv.smoothing": ("certify", "smoothed"),
    "jaxadv.specs": ("UsageError",),
    "jaxadv.threats": (
        "L0", "L1", "L2", "Composed", "Linf", "LpipsBall", "Masked",
        "ReColor", "Shared", "StAdv", "Unbounded", "Union",
    ),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

# What config files and scripts of before import from here.
_MOVED = {"settings": "jaxadv.training.settings"}
_HIDDEN = {"load_classifier": "jaxadv.checkpoints"}

__all__ = sorted(["__version__", *_MODULES, *_HOME])  # pyright: ignore


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from jaxadv import attacks as attacks
    from jaxadv import models as models
    from jaxadv import objectives as objectives
    from jaxadv import perceptual as perceptual
    from jaxadv import struct as struct
    from jaxadv import threats as threats
    from jaxadv.attacks import Apgd as Apgd
    from jaxadv.attacks import ApgdL1 as ApgdL1
    from jaxadv.attacks import Ascent as Ascent
    from jaxadv.attacks import CarliniWagner as CarliniWagner
    from jaxadv.attacks import Ddn as Ddn
    from jaxadv.attacks import DeepFool as DeepFool
    from jaxadv.attacks import ElasticNet as ElasticNet
    from jaxadv.attacks import Fab as Fab
    from jaxadv.attacks import FastLpa as FastLpa
    from jaxadv.attacks import FewPixel as FewPixel
    from jaxadv.attacks import Fgsm as Fgsm
    from jaxadv.attacks import Fmn as Fmn
    from jaxadv.attacks import Jsma as Jsma
    from jaxadv.attacks import Lagrangian as Lagrangian
    from jaxadv.attacks import Lpa as Lpa
    from jaxadv.attacks import MinMax as MinMax
    from jaxadv.attacks import Msd as Msd
    from jaxadv.attacks import Pgd0 as Pgd0
    from jaxadv.attacks import Ppgd as Ppgd
    from jaxadv.attacks import Square as Square
    from jaxadv.attacks import UniformNoise as UniformNoise
    from jaxadv.classifier import Classifier as Classifier
    from jaxadv.craft import Adversarial as Adversarial
    from jaxadv.craft import craft as craft
    from jaxadv.craft import craft_batches as craft_batches
    from jaxadv.craft import craft_traced as craft_traced
    from jaxadv.evaluation.front import autoattack as autoattack
    from jaxadv.evaluation.front import evaluate as evaluate
    from jaxadv.evaluation.result import Result as Result
    from jaxadv.loading import load as load
    from jaxadv.objectives import DLR as DLR
    from jaxadv.objectives import KL as KL
    from jaxadv.objectives import CrossEntropy as CrossEntropy
    from jaxadv.objectives import Expectation as Expectation
    from jaxadv.objectives import Margin as Margin
    from jaxadv.objectives import TargetedCrossEntropy as TargetedCrossEntropy
    from jaxadv.objectives import TargetedMargin as TargetedMargin
    from jaxadv.objectives import Weighted as Weighted
    from jaxadv.smoothing import certify as certify
    from jaxadv.smoothing import smoothed as smoothed
    from jaxadv.specs import UsageError as UsageError
    from jaxadv.threats import L0 as L0
    from jaxadv.threats import L1 as L1
    from jaxadv.threats import L2 as L2
    from jaxadv.threats import Composed as Composed
    from jaxadv.threats import Linf as Linf
    from jaxadv.threats import LpipsBall as LpipsBall
    from jaxadv.threats import Masked as Masked
    from jaxadv.threats import ReColor as ReColor
    from jaxadv.threats import Shared as Shared
    from jaxadv.threats import StAdv as StAdv
    from jaxadv.threats import Unbounded as Unbounded
    from jaxadv.threats import Union as Union
else:

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(f"jaxadv.{name}")
        if name in _MOVED:
            return importlib.import_module(_MOVED[name])
        homes = _HOME | _HIDDEN
        if name not in homes:
            raise AttributeError(f"module 'jaxadv' has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        # Importing `jaxadv.craft` has put that module here, which is callable.
        return globals().setdefault(name, value)
