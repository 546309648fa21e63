"""Checks of the gradient: is there one, is it the network's, does it lead uphill."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import protocols
from jaxadv.evaluation.checks import starts
from jaxadv.evaluation.checks.base import LOSSES, Check, Finding, Probe
from jaxadv.objectives import OBJECTIVES

# Lengths of difference quotients, in [0, 1] units a channel: from a quarter of an
# 8-bit level to half a common budget.
LENGTHS = (1e-3, 4e-3, 1.6e-2)
DIRECTIONS = 4
# Straight paths from image to image, and the points on each at which the gradient is
# looked at.
PATHS, POINTS = 2, 8
ROUNDING = 1e-6  # of a loss, relative to it

ZERO = Check(
    id="R3",
    name="zero gradients",
    looks="at how many images that withstood the attacks a loss has no "
    "gradient, and where searches began without one",
    means="the attacks were blind at these images, which count as robust "
    "because nothing was tried",
    warns="one of several losses or searches is blind at some images",
    todo="attack a loss that has a gradient, start where there is one, or "
    "attack without gradients (square)",
)
ROSE = Check(
    id="R10",
    name="the loss never rose",
    looks="whether five gradient steps raise one of the losses that the attacks climb",
    means="at more than a tenth of the images they do not: the gradient leads nowhere",
    warns="at a few images they do not",
    todo="try other losses, smaller steps, and attacks without gradients",
)


def zero(
    probe: Probe,
    used: Collection[str] = LOSSES,
    count: int | None = None,
    attacks: Sequence[Any] = (),
) -> Finding:
    """R3: at how many images each loss has no gradient: it is zero or not finite.

    The cross-entropy's is that of its `objectives.score`, which sure labels leave.

    Args:
      probe: the network.
      used: the losses that the attacks climb; where none of them has a gradient the
        attacks were blind.
      count: how many of the images, the first ones, withstood the attacks; None: all.
      attacks: the attacks, each with `label` and `attack`; one is named that found no
        gradient where it began.
    """
    if probe.obstacle:
        remedy = "attack without gradients, or make the network differentiable"
        return ZERO.found("fail", f"none: {probe.obstacle}", remedy)
    if count == 0:
        return ZERO.found("not run", "nothing withstood the attacks")
    flat = {loss: _flat(probe.gradient(loss)[1])[:count] for loss in LOSSES}
    blind = np.all([flat[loss] for loss in used], axis=0)
    counts = ", ".join(f"{loss} {int(np.sum(v))}" for loss, v in flat.items())
    evidence = f"none at, of {len(blind)} images: {counts}"
    spare = [loss for loss, v in flat.items() if not np.any(v)]
    begun = {k: v[:count] for k, v in starts.blind(probe, attacks).items()}
    stuck = {label: int(np.sum(v)) for label, v in begun.items() if np.any(v)}
    if stuck:
        told = ", ".join(f"{label} {number}" for label, number in stuck.items())
        evidence += f"; the first gradient of a search was zero at: {told}"
    if np.any(blind):
        evidence += f"; the attacks are blind at {int(np.sum(blind))}"
        remedy = f"attack {' or '.join(spare)}" if spare else "attack without gradients"
        return ZERO.found("fail", evidence, remedy)
    begin = "let searches start where their objective has a gradient"
    if starts.alone(begun, attacks):
        return ZERO.found("fail", evidence, begin)
    if any(np.any(v) for v in flat.values()):
        remedy = f"let no attack rely on {', '.join(k for k in flat if k not in spare)}"
        return ZERO.found("warn", evidence, remedy)
    if stuck:
        return ZERO.found("warn", evidence, begin)
    return ZERO.found("ok", evidence)


def climbed(attacks: Iterable[Any]) -> tuple[tuple[str, ...], int]:
    """The losses of `LOSSES` that attacks with gradients climb, the first one's first,
    and the fewest draws that one of them averages over.

    All losses where none is known. A targeted loss counts as its untargeted kin, but
    the targeted cross-entropy as a margin: at a sure image too its gradient is that
    of a difference of two logits.

    Args:
      attacks: each with `attack`, whose `objective` is looked at.
    """
    used, samples = {}, []
    for planned in attacks:
        if not protocols.takes_gradient(planned.attack):
            continue
        objective = planned.attack.objective
        # A gradient without noise is one of no draw, and no mean of several.
        noiseless = protocols.takes_noise_out(objective)
        draws = 1 if noiseless else protocols.gradient_draws(objective)
        for part in protocols.chain(objective):
            name = OBJECTIVES.name_of(type(part))
            if name in ("likely_target", "random_target"):
                name = f"targeted_{part.loss}"
            if name == "targeted_cross_entropy":
                name = "margin"
            name = name.removeprefix("targeted_")
            if name in LOSSES:
                used[name] = None
        samples.append(draws)
    return tuple(used) or LOSSES, min(samples, default=1)


def mismatch(probe: Probe) -> float:
    """How much the network's changes differ from what its gradient says, 0 to 2.

    Random weights make the logits one number, whose differences along random sign
    vectors are compared with the gradient's: the sum of squared deviations over the
    sum of both squares, at the length that fits best, as the median of the images.
    0 is agreement; 1 says that the gradient is unrelated or absent. The share p of
    the squared gradient that is stopped gives p / (2 - p). NaN where nothing moves.
    """
    images, weights, signs = _directions(probe, DIRECTIONS)
    _, gradients = probe.gradient("weighted", images, weights)
    slopes = np.einsum("dnijk,nijk->dn", signs.astype(np.float64), gradients)
    with np.errstate(invalid="ignore", over="ignore"):
        fits = [_fit(probe, images, weights, signs, slopes, h) for h in LENGTHS]
    return _median(np.min(np.where(np.isnan(fits), np.inf, fits), axis=0))


def tears(probe: Probe) -> float:
    """How much the network's changes along paths are not the sum of its gradients.

    0 is agreement, as of all continuous networks; 1 says that the network jumps, as
    where a unit is chosen by rank, and that no gradient tells where. The ratio is that
    of `mismatch`, of the differences between the ends of paths of twice the largest of
    its lengths and the means of the gradients on the way.
    """
    images, weights, signs = _directions(probe, PATHS)
    length = LENGTHS[-1]
    slopes = np.zeros(signs.shape[:2])
    for place in (2 * np.arange(POINTS) + 1) / POINTS - 1:
        for path, sign in enumerate(signs):
            here = images + np.float32(place * length) * sign
            gradient = probe.gradient("weighted", here, weights)[1]
            slopes[path] += np.einsum("nijk,nijk->n", sign, gradient) / POINTS
    with np.errstate(invalid="ignore", over="ignore"):
        return _median(_fit(probe, images, weights, signs, slopes, length))


def _directions(probe, count):
    """Images [n, h, w, c], weights of their logits and sign vectors [count, n, …]."""
    random = np.random.RandomState(0)
    weights = random.standard_normal((len(probe), probe.classes)).astype(np.float32)
    # Away from 0 and 1, where a network may clip what differences probe.
    room = LENGTHS[-1]
    images = room + (1 - 2 * room) * probe.images
    shape = (count, *images.shape)
    return images, weights, random.choice(np.array([-1, 1], np.float32), shape)


def _median(found):
    """The median of what is a finite number, NaN where nothing is."""
    known = found[np.isfinite(found)]
    return float(np.median(known)) if len(known) else float("nan")


def _fit(probe, images, weights, signs, slopes, length):
    """[n] deviation of difference quotients from `slopes` [directions, n]."""
    ends = []
    for sign in (1, -1):
        moved = images + np.float32(sign * length) * signs
        # Each image at its own place in the block, where its key is the same.
        logits = np.stack([probe.logits(some) for some in moved])
        ends.append(np.sum(logits.astype(np.float64) * weights, axis=-1))
    quotient = (ends[0] - ends[1]) / (2 * length)
    # Differences of float32 numbers that are nothing but their rounding.
    noise = 1e-6 * np.max(np.abs(ends[0]), axis=0) / length
    total = np.sum(quotient**2 + slopes**2, axis=0)
    seen = np.max(np.abs([*quotient, *slopes]), axis=0) > noise
    off = np.sum((quotient - slopes) ** 2, axis=0)
    return np.where(seen, off / np.where(total > 0, total, 1.0), np.nan)


def never_rose(
    probe: Probe, threat: Any, used: Sequence[str] = LOSSES[:1], steps: int = 5
) -> Finding:
    """R10: at how many images short attacks raised none of the losses.

    Source: Pintor et al., "Indicators of attack failure", 2022.

    Args:
      probe: the network, at correctly classified images.
      threat: an lp threat; each step is a quarter of its budget.
      used: the losses that the attacks climb; an image at which one of them rises
        can be attacked.
      steps: gradient steps, from the image itself.
    """
    if probe.obstacle:
        return ROSE.found("not run", probe.obstacle)
    rises = {loss: _rise(probe, threat, loss, steps) for loss in used}
    stuck = int(np.sum(np.all([~(rise > 0) for rise in rises.values()], axis=0)))
    told = ", ".join(
        f"{loss} {int(np.sum(~(rise > 0)))} (median rise {float(np.median(rise)):.3g})"
        for loss, rise in rises.items()
    )
    evidence = (
        f"{steps} steps in {threat.norm} eps {float(threat.eps):.4g}, never above the "
        f"start at {stuck} of {len(probe)} images; by loss: {told}"
    )
    if not stuck:
        return ROSE.found("ok", evidence)
    verdict = "fail" if stuck > 0.1 * len(probe) else "warn"
    remedy = "try other losses, smaller steps, and attacks without gradients"
    return ROSE.found(verdict, evidence, remedy)


def _rise(probe, threat, loss, steps):
    """[n] how far the largest value of `steps` steps is above the image's own.

    0 where the two are so close that rounding may be all that is between them.
    """
    params, image, values = np.zeros_like(probe.images), probe.images, []
    for _ in range(steps + 1):
        value, gradient = probe.gradient(loss, image)
        values.append(value)
        params, image = _climb(threat, params, gradient, probe.images)
        image = np.asarray(image)
    rise = np.max(values[1:], axis=0) - values[0]
    return np.where(np.abs(rise) > ROUNDING * np.abs(values[0]), rise, 0.0)


def _flat(gradients):
    axes = tuple(range(1, gradients.ndim))
    finite = np.all(np.isfinite(gradients), axis=axes)
    return ~finite | ~np.any(gradients != 0, axis=axes)


@jax.jit
def _climb(threat, params, gradients, images):
    def one(point, gradient, image):
        move = threat.direction(gradient, point, image)
        point = threat.project(point + 0.25 * threat.budget * move, image)
        return point, threat.apply(point, image)

    return jax.vmap(one)(params, gradients, jnp.asarray(images))
