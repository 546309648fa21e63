"""R2: outputs whose size takes from the losses what attacks need of them.

The classes that a network says do not depend on the scale of its logits, the
cross-entropy does. Of small logits it is linear: its gradient pulls the label's logit
towards the mean of all others, not towards the nearest of them, so that attacks on it
are weaker by far than on the margin or the DLR. Of huge ones it rounds to 0; then it
has a gradient only in `objectives.score`, not where its value counts, as in a mean
over draws. Probabilities in the place of logits are small whatever the network says.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxadv import protocols
from jaxadv.evaluation.checks import results
from jaxadv.evaluation.checks.base import Check, Finding, Probe
from jaxadv.objectives import OBJECTIVES, SURE

# Of the logits of one image, largest minus smallest: below it no wrong class weighs
# e times as much as another in the cross-entropy's gradient.
SMALL = 1.0
_BOUND = ("cross_entropy", "kl", "targeted_cross_entropy")

OUTPUTS = Check(
    id="R2",
    name="logits and their scale",
    looks="the range of the outputs, and how far the logits of an image lie apart",
    means="the outputs are probabilities, or of a scale at which the only "
    "losses that are climbed see little: the attacks are too weak",
    warns="some losses see little at this scale; others are climbed as well",
    todo="return what goes into the softmax; attack the margin or the dlr, "
    "which no scale changes",
)


def outputs(
    probe: Probe, attacks: Sequence[Any] = (), count: int | None = None
) -> Finding:
    """R2: whether the outputs are logits, of a scale at which the attacks see.

    Args:
      probe: the network; its labels are the ones that the attacks move away from.
      attacks: each with `label`, `spec` and `attack`; a threat that is searched by
        nothing but attacks whose loss hangs on the scale is a fail.
      count: how many of the images survive; where none does, no attack was too weak.
    """
    found = probe.logits(probe.images)
    inside = (found.min() >= 0) & (found.max() <= 1)
    off = float(np.max(np.abs(found.sum(1, dtype=np.float64) - 1)))
    evidence = (
        f"outputs from {found.min():.3g} to {found.max():.3g}, "
        f"sums off 1 by up to {off:.1e}"
    )
    if inside and off <= 1e-4 and found.shape[1] > 1:
        remedy = "return what goes into the softmax"
        return OUTPUTS.found("fail", evidence, remedy)
    spread = float(np.median(_spread(found)))
    sure = int(np.sum(_odds(found, probe.labels) < SURE))
    if found.shape[1] > 2 and spread < SMALL:
        weak = _alone(attacks, _hangs_on_scale)
        evidence += (
            f"; each image's logits lie within {spread:.1e}, where the cross-entropy "
            "is linear and aims at no class"
        )
    elif 2 * sure > len(probe):
        weak = _alone(attacks, _loses_gradient)
        evidence += (
            f"; at {sure} of {len(probe)} images the label's probability rounds to 1 "
            "and the cross-entropy to 0"
        )
    else:
        return OUTPUTS.found("ok", evidence)
    if weak and count != 0:
        evidence += f"; nothing else is climbed by {', '.join(weak)}"
        remedy = "attack the margin or the dlr, which no scale changes"
        return OUTPUTS.found("fail", evidence, remedy)
    remedy = "rely on no attack that climbs the cross-entropy"
    return OUTPUTS.found("warn", evidence, remedy)


def _spread(logits):
    """[n] largest minus smallest of the finite logits [n, classes]."""
    known = np.isfinite(logits)
    top = np.max(logits, axis=1, where=known, initial=-np.inf)
    return top - np.min(logits, axis=1, where=known, initial=np.inf)


def _odds(logits, labels):
    """[n] the log odds against the labels, of logits [n, classes]."""
    rows = np.arange(len(labels))
    wide = logits.astype(np.float64)
    wide = wide - wide[rows, labels][:, None]
    wide[rows, labels] = -np.inf
    return np.logaddexp.reduce(wide, axis=1)


def _alone(attacks, weak):
    """Labels of attacks with gradients on threats that only `weak` ones search."""
    found = []
    for group in results.by_threat(attacks):
        seeing = [p for p in group if protocols.takes_gradient(p.attack)]
        if seeing and all(weak(p.attack) for p in seeing):
            found += [p.label for p in seeing]
    return found


def _hangs_on_scale(attack):
    """Whether the attack climbs a loss of `_BOUND`."""
    return _loss(list(protocols.chain(attack.objective))) in _BOUND


def _loses_gradient(attack):
    """Whether that loss is not climbed by its `score`, which keeps the gradient."""
    chain = list(protocols.chain(attack.objective))
    return _loss(chain) in _BOUND and not protocols.has_score(chain[0])


def _loss(chain):
    """The name of the innermost objective, "" where there is none."""
    if not chain:
        return ""
    name = OBJECTIVES.name_of(type(chain[-1]))
    aimed = name in ("likely_target", "random_target")
    return f"targeted_{chain[-1].loss}" if aimed else name
