"""What an attack makes larger.

An objective is called as `objective(model, image, label, key) -> scalar` on one
image; `goal(logits, label)` is at least 0 exactly where the attack has succeeded. An
objective that asks more than one network or image has `goal_at(model, image, label,
key)` in its place.
An objective that is smallest at the clean image, and so has no gradient there, says
so by `flat_at_image`.
An objective that depends on the clean image has `bind(model, image, label, key)`,
which the drivers call before the attack starts; one that differs from restart to
restart has `restarted(number)`, which they call before that. One whose values lose
digits that a search needs has `score`; see the function of that name.
"""

from jaxadv import protocols
from jaxadv.objectives.base import (
    check_logits,
    check_start,
    drawn,
    expected_logits,
    goal_at,
    log_mean,
    score,
)
from jaxadv.objectives.domains import Weighted
from jaxadv.objectives.expectation import Expectation
from jaxadv.objectives.fixed_draws import FixedDraws
from jaxadv.objectives.losses import (
    SURE,
    cross_entropy,
    dlr,
    kl_divergence,
    log_odds,
    margin,
    soft_margin,
    targeted_dlr,
)
from jaxadv.objectives.noised import Noised
from jaxadv.objectives.salient import Salient
from jaxadv.objectives.targeted import (
    LikelyTarget,
    RandomTarget,
    TargetedCrossEntropy,
    TargetedDLR,
    TargetedMargin,
)
from jaxadv.objectives.untargeted import DLR, KL, CrossEntropy, Margin
from jaxadv.objectives.without_noise import WithoutNoise

__all__ = [
    "DLR",
    "KL",
    "OBJECTIVES",
    "SURE",
    "CrossEntropy",
    "Expectation",
    "FixedDraws",
    "LikelyTarget",
    "Margin",
    "Noised",
    "RandomTarget",
    "Salient",
    "TargetedCrossEntropy",
    "TargetedDLR",
    "TargetedMargin",
    "Weighted",
    "WithoutNoise",
    "check_logits",
    "check_start",
    "cross_entropy",
    "dlr",
    "drawn",
    "expected_logits",
    "goal_at",
    "kl_divergence",
    "log_mean",
    "log_odds",
    "margin",
    "score",
    "soft_margin",
    "targeted_dlr",
]
from jaxadv.plugins import Registry

OBJECTIVES = Registry(
    "objectives",
    {
        "cross_entropy": CrossEntropy,
        "dlr": DLR,
        "expectation": Expectation,
        "fixed_draws": FixedDraws,
        "kl": KL,
        "likely_target": LikelyTarget,
        "margin": Margin,
        "noised": Noised,
        "random_target": RandomTarget,
        "salient": Salient,
        "targeted_cross_entropy": TargetedCrossEntropy,
        "targeted_dlr": TargetedDLR,
        "targeted_margin": TargetedMargin,
        "weighted": Weighted,
        "without_noise": WithoutNoise,
    },
    protocols.Objective,
)
