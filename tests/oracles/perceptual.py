"""The Lagrangian perceptual attacks in plain NumPy, one image, float64, no autodiff.

Written from the equations of Laidlaw, Singla and Feizi, "Perceptual Adversarial
Robustness" (2021), sections 3 and 4 and algorithms 2 and 3: a two-layer convolutional
network whose input gradients are coded by hand, the normalized activations phi of the
neural perceptual distance with their transposed derivative, and the attacks as plain
loops that keep every iterate. Everything here climbs objective (5), margin - lam *
max(0, d - eps), in the paper's own sign: the step and the secant both go along +Delta.
"""

import math
from typing import NamedTuple

import numpy as np


class Network(NamedTuple):
    """Two 3x3 convolutions with ReLU (the taps) and a dense layer, on [h, w, c].

    The first convolution sees (image - mean) / std.
    """

    kernel1: np.ndarray  # [3, 3, c, c1], zero padding 1
    bias1: np.ndarray
    kernel2: np.ndarray  # [3, 3, c1, c2], no padding
    bias2: np.ndarray
    dense: np.ndarray  # [(h - 2) * (w - 2) * c2, classes]
    bias: np.ndarray
    mean: float = 0.5
    std: float = 0.5


def random_network(seed, side=4, channels=3, widths=(5, 4), classes=3):
    """A `Network` with standard normal weights, scaled to keep activations near 1."""
    random = np.random.default_rng(seed)
    fan1, fan2, fan3 = 9 * channels, 9 * widths[0], (side - 2) ** 2 * widths[1]
    return Network(
        random.normal(size=(3, 3, channels, widths[0])) * math.sqrt(2 / fan1),
        random.normal(size=widths[0]) * 0.1,
        random.normal(size=(3, 3, *widths)) * math.sqrt(2 / fan2),
        random.normal(size=widths[1]) * 0.1,
        random.normal(size=(fan3, classes)) * math.sqrt(2 / fan3),
        random.normal(size=classes) * 0.1,
    )


def convolve(image, kernel, pad):
    """Cross-correlation of `image` [h, w, c] with `kernel` [k, k, c, o], stride 1."""
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    k = kernel.shape[0]
    height, width = padded.shape[0] - k + 1, padded.shape[1] - k + 1
    out = np.zeros((height, width, kernel.shape[3]))
    for i in range(k):
        for j in range(k):
            out += padded[i : i + height, j : j + width] @ kernel[i, j]
    return out


def convolve_transpose(cotangent, kernel, pad):
    """The adjoint of `convolve` in its image argument."""
    k = kernel.shape[0]
    height, width = cotangent.shape[:2]
    padded = np.zeros((height + k - 1, width + k - 1, kernel.shape[2]))
    for i in range(k):
        for j in range(k):
            padded[i : i + height, j : j + width] += cotangent @ kernel[i, j].T
    return padded[pad : padded.shape[0] - pad, pad : padded.shape[1] - pad]


def forward(network, image):
    """The pair (logits [classes], taps) at `image` [h, w, c]."""
    image = (image - network.mean) / network.std
    tap1 = np.maximum(convolve(image, network.kernel1, 1) + network.bias1, 0.0)
    tap2 = np.maximum(convolve(tap1, network.kernel2, 0) + network.bias2, 0.0)
    return tap2.ravel() @ network.dense + network.bias, (tap1, tap2)


def backward(network, taps, d_logits, d_taps):
    """The input gradient [h, w, c], given the gradients of the logits and both taps.

    The slope of the ReLU at 0 is 0.
    """
    tap1, tap2 = taps
    d_tap2 = (network.dense @ d_logits).reshape(tap2.shape) + d_taps[1]
    d_tap2 = np.where(tap2 > 0, d_tap2, 0.0)
    d_tap1 = convolve_transpose(d_tap2, network.kernel2, 0) + d_taps[0]
    d_tap1 = np.where(tap1 > 0, d_tap1, 0.0)
    return convolve_transpose(d_tap1, network.kernel1, 1) / network.std


EMBED_EPS = 1e-10


def normalize(tap):
    """One layer of phi: unit channel vectors over the root of the number of pixels."""
    norm = np.sqrt(np.sum(tap**2, axis=-1, keepdims=True))
    return tap / ((norm + EMBED_EPS) * math.sqrt(tap.shape[0] * tap.shape[1]))


def normalize_transpose(tap, cotangent):
    """The adjoint of the derivative of `normalize` at `tap`; norm'(0) is 0."""
    norm = np.sqrt(np.sum(tap**2, axis=-1, keepdims=True))
    inner = np.sum(tap * cotangent, axis=-1, keepdims=True)
    along = tap * inner / (np.where(norm > 0, norm, 1.0) * (norm + EMBED_EPS) ** 2)
    scale = math.sqrt(tap.shape[0] * tap.shape[1])
    return (cotangent / (norm + EMBED_EPS) - along) / scale


def embed(network, image):
    """phi(image), all layers in one vector."""
    _, taps = forward(network, image)
    return np.concatenate([normalize(tap).ravel() for tap in taps])


def embed_transpose(network, image, cotangent):
    """The adjoint of the derivative of `embed` at `image`: [m] -> [h, w, c]."""
    logits, taps = forward(network, image)
    pieces = np.split(cotangent, [taps[0].size])
    d_taps = [
        normalize_transpose(tap, piece.reshape(tap.shape))
        for tap, piece in zip(taps, pieces, strict=True)
    ]
    return backward(network, taps, np.zeros_like(logits), d_taps)


def distance(network, image, other):
    """The neural perceptual distance, paper eq. (1)."""
    return float(np.linalg.norm(embed(network, image) - embed(network, other)))


def distance_gradient(network, image, other):
    """The gradient of `distance` in `image`; 0 where the two embeddings are equal."""
    difference = embed(network, image) - embed(network, other)
    norm = np.linalg.norm(difference)
    if norm == 0:
        return np.zeros_like(image)
    return embed_transpose(network, image, difference / norm)


def margin(network, image, label, kappa=math.inf):
    """min(max_{i != y} z_i - z_y, kappa) and its input gradient."""
    logits, taps = forward(network, image)
    rival = max((i for i in range(len(logits)) if i != label), key=lambda i: logits[i])
    value = float(logits[rival] - logits[label])
    if value > kappa:
        return kappa, np.zeros_like(image)
    d_logits = np.zeros_like(logits)
    d_logits[rival], d_logits[label] = 1.0, -1.0
    no_taps = [np.zeros_like(tap) for tap in taps]
    return value, backward(network, taps, d_logits, no_taps)


def lagrangian(network, image, label, clean, lam, eps, kappa=math.inf):
    """Eq. (5): margin - lam * max(0, d - eps), and its input gradient Delta."""
    value, gradient = margin(network, image, label, kappa)
    excess = distance(network, image, clean) - eps
    if excess > 0:
        value -= lam * excess
        gradient = gradient - lam * distance_gradient(network, image, clean)
    return value, gradient


class Options(NamedTuple):
    """What the paper fixes and what the public code does otherwise.

    `count_from` is the first t of the schedules (paper 1, code 0); the public code adds
    `norm_eps` to the gradient's norm, `damping` to the secant and clamps to [0, 1].
    `secant_sign` -1 measures the secant against the step (an error, kept for tests).
    """

    count_from: int = 1
    h: float = 0.1
    norm_eps: float = 0.0
    damping: float = 0.0
    clamp: bool = True
    kappa: float = math.inf
    secant_sign: float = 1.0


PAPER = Options(clamp=False)
FAST_CODE = Options(count_from=0, norm_eps=1e-8, damping=1e-4)
LPA_CODE = Options(count_from=0, norm_eps=1e-8, damping=1e-8, kappa=1.0)


def schedules(steps, eps, options):
    """The step sizes eta_t = eps * 0.1^(t/T) and Fast-LPA's lam_t = 10^(t/T), [T]."""
    t = np.arange(options.count_from, options.count_from + steps)
    return eps * 0.1 ** (t / steps), 10.0 ** (t / steps)


def ascend(network, image, label, clean, lam, eta, eps, options):
    """One update of algorithms 2 and 3 from `image`: lines 6-10 of algorithm 2."""
    _, gradient = lagrangian(network, image, label, clean, lam, eps, options.kappa)
    norm = np.linalg.norm(gradient)
    if norm == 0:
        return image
    unit = gradient / (norm + options.norm_eps)
    probe = image + options.secant_sign * options.h * unit
    rate = distance(network, image, probe) / options.h
    moved = image + eta / (rate + options.damping) * unit
    return np.clip(moved, 0.0, 1.0) if options.clamp else moved


def descend(network, image, label, clean, lam, eta, eps, options):
    """The same update in the public code's sign: descent on -margin + lam * excess.

    Its secant is taken at image - h * unit, which is the point that `ascend` probes.
    """
    _, gradient = lagrangian(network, image, label, clean, lam, eps, options.kappa)
    unit = -gradient / (np.linalg.norm(gradient) + options.norm_eps)
    behind = embed(network, image - options.h * unit)
    rate = np.linalg.norm(embed(network, image) - behind) / options.h
    moved = image - unit * eta / (rate + options.damping)
    return np.clip(moved, 0.0, 1.0) if options.clamp else moved


def fast_lpa(network, clean, label, start, eps, steps, options=FAST_CODE):
    """Algorithm 3 from the point `start`: all iterates [steps + 1, h, w, c]."""
    etas, lams = schedules(steps, eps, options)
    points = [start]
    for eta, lam in zip(etas, lams, strict=True):
        points.append(ascend(network, points[-1], label, clean, lam, eta, eps, options))
    return np.stack(points)


class Search(NamedTuple):
    """What `lpa` went through."""

    points: np.ndarray  # [rounds * steps + 1, h, w, c]
    lams: np.ndarray  # [rounds * steps], the multiplier each step was taken with
    found: int | None  # the index in points of the first success inside the bound


def broken_inside(network, image, label, clean, eps):
    """Whether `image` is misclassified and within `eps` of `clean`."""
    wrong = int(np.argmax(forward(network, image)[0])) != label
    return wrong and distance(network, image, clean) <= eps


def lpa(
    network, clean, label, start, eps, rounds, steps, options=LPA_CODE, freeze=True,
    grow="after",
):  # fmt: skip
    """Algorithm 2 without its final projection.

    With `freeze`, a point that is misclassified inside the bound, judged before its
    update, is kept and never moved again (the paper goes on moving). `grow` says which
    point's distance multiplies lam by ten after a round: the one "after" its last
    update (the paper) or the one "before" it (the public code).
    """
    etas, _ = schedules(steps, eps, options)
    points, lams, lam, found = [start], [], 0.01, None
    for _ in range(rounds):
        for eta in etas:
            point = points[-1]
            if found is None and broken_inside(network, point, label, clean, eps):
                found = len(points) - 1
            lams.append(lam)
            if found is not None and freeze:
                points.append(point)
                continue
            points.append(ascend(network, point, label, clean, lam, eta, eps, options))
        judged = points[-1] if grow == "after" else points[-2]
        if distance(network, judged, clean) > eps:
            lam = 10.0 * lam
    if found is None and broken_inside(network, points[-1], label, clean, eps):
        found = len(points) - 1
    return Search(np.stack(points), np.array(lams), found)
