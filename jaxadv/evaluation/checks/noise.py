"""R11: random points of the threat around images that withstood its attacks."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.evaluation.checks.base import SURE, Check, Finding, Probe, correct, margin

NOISE = Check(
    id="R11",
    name="random noise",
    looks="random points of each lp ball around images that withstood its attacks",
    means="chance breaks what the attacks did not: they failed",
    warns="",
    todo="see R3, R5 and R9",
)


def noise(
    probe: Probe, cases: Sequence[tuple[Any, np.ndarray, np.ndarray]], draws: int
) -> Finding:
    """R11: whether random noise breaks what the attacks did not.

    Source: Carlini et al., "On evaluating adversarial robustness", 2019.

    Args:
      probe: the network.
      cases: for each threat, the images [k, h, w, c] and labels [k] that survived
        its attacks.
      draws: random points around each.
    """
    if probe.undecided:
        return NOISE.found("not run", probe.undecided)
    told, bad = [], False
    for threat, images, labels in cases:
        if not len(images):
            continue
        broken = np.zeros(len(images), bool)
        # Filled up to whole blocks, so that one program serves any number of images.
        missing = -len(images) % probe.block
        filled = np.concatenate([images, np.repeat(images[:1], missing, 0)])
        for draw in range(draws):
            points = np.asarray(_drawn(threat, draw, filled))[: len(images)]
            logits, errors = probe.judged(points, labels)
            lucky = np.abs(margin(logits, labels)) < SURE * errors
            broken |= ~correct(logits, labels) & ~lucky
        bad |= bool(np.any(broken))
        told.append(
            f"{threat.norm} eps {float(threat.eps):.4g}: {int(np.sum(broken))} of "
            f"{len(images)} survivors in {draws} draws"
        )
    if not told:
        return NOISE.found("not run", "nothing survived an attack in a ball")
    remedy = "the attacks fail where chance does not: see R3, R5 and R9"
    verdict = "fail" if bad else "ok"
    return NOISE.found(verdict, "; ".join(told), remedy * bad)


@jax.jit
def _drawn(threat, draw, images):
    def one(example, image):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), draw), example)
        return threat.apply(threat.init(key, image), image)

    return jax.vmap(one)(jnp.arange(len(images)), jnp.asarray(images))
