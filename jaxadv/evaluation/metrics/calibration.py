"""Calibrated budgets of the unforeseen attacks, and reference accuracies.

For each data set and attack: six budgets from weak to strong, and ATA, the accuracy
under each of them of networks adversarially trained against that very attack. UAR,
the score of a network against an attack, is the sum of its six accuracies over the
sum of the six ATA.

Source: Kang, Sun, Hendrycks, Brown and Steinhardt, "Testing robustness against
unforeseen adversaries", 2019, tables of section 4 and appendix (ResNet-56 on
CIFAR-10, ResNet-50 on ImageNet-100), and the calibration files published with it for
what the paper leaves out. Attacks are targeted at a random wrong class, with 200
steps of eps / sqrt(200), for Fog, Gabor and Snow of 0.002236 on numbers up to 1.
Budgets are converted to the units of `jaxadv.threats`. Users report that the
budgets of Elastic on CIFAR-10 are badly calibrated.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

STEPS = 200
_WEATHER = 0.002236


class Calibration(NamedTuple):
    """Six budgets of one attack on one data set.

    Attributes:
      threat: its spec without `eps`, for `specs.build`.
      eps: [6] in the threat's unit, from weak to strong.
      ata: [6] accuracies as fractions; None where none is published.
      rel_step_size: of each of `STEPS` steps, as a fraction of the threat's budget,
        which is 1 for what Fog, Gabor and Snow search beside their amount.
    """

    threat: Mapping[str, Any]
    eps: tuple[float, ...]
    ata: tuple[float, ...] | None
    rel_step_size: float = STEPS**-0.5


def _row(threat, eps, ata, unit=1.0, **more):
    """Percentages become fractions, and `eps` is divided by `unit`."""
    spec = {"name": threat} if isinstance(threat, str) else threat
    fractions = tuple(a / 100 for a in ata) if ata else None
    return Calibration(spec, tuple(e / unit for e in eps), fractions, **more)


_JPEG = {ball: {"name": "jpeg", "ball": ball} for ball in ("linf", "l2", "l1")}
_PIXEL = 255.0

CALIBRATIONS: Mapping[str, Mapping[str, Calibration]] = {
    "cifar10": {
        "linf": _row(
            "linf",
            (1, 2, 4, 8, 16, 32),
            (91.0, 87.8, 81.6, 71.3, 46.5, 23.1),
            _PIXEL,
        ),
        "l2": _row(
            "l2",
            (40, 80, 160, 320, 640, 2560),
            (90.1, 86.4, 79.6, 67.3, 49.9, 17.3),
            _PIXEL,
        ),
        "l1": _row(
            "l1",
            (195, 390, 780, 1560, 6240, 24960),
            (92.2, 90.0, 83.2, 73.8, 47.4, 35.3),
            _PIXEL,
        ),
        "jpeg_linf": _row(
            _JPEG["linf"],
            (0.03125, 0.0625, 0.125, 0.25, 0.5, 1),
            (89.7, 87.0, 83.1, 78.6, 69.7, 35.4),
        ),
        "jpeg_l2": _row(_JPEG["l2"], (0.25, 0.5, 1, 2, 4, 8), None),
        "jpeg_l1": _row(
            _JPEG["l1"],
            (2, 8, 64, 256, 512, 1024),
            (91.4, 88.1, 80.2, 68.9, 56.3, 37.7),
        ),
        "elastic": _row(
            "elastic",
            (0.125, 0.25, 0.5, 1, 2, 8),
            (87.4, 81.3, 72.1, 58.2, 45.4, 27.8),
        ),
    },
    "imagenet100": {
        "linf": _row(
            "linf",
            (1, 2, 4, 8, 16, 32),
            (84.6, 82.1, 76.2, 66.9, 40.1, 12.9),
            _PIXEL,
        ),
        "l2": _row(
            "l2",
            (150, 300, 600, 1200, 2400, 4800),
            (85.0, 83.5, 79.6, 72.6, 59.1, 19.9),
            _PIXEL,
        ),
        "l1": _row(
            "l1",
            (9562.5, 19125, 76500, 153000, 306000, 612000),
            (84.4, 82.7, 76.3, 68.9, 56.4, 36.1),
            _PIXEL,
        ),
        "jpeg_linf": _row(
            _JPEG["linf"],
            (0.0625, 0.125, 0.25, 0.5, 1, 2),
            (85.0, 83.2, 79.3, 72.8, 34.8, 1.1),
        ),
        "jpeg_l2": _row(
            _JPEG["l2"],
            (8, 16, 32, 64, 128, 256),
            (84.8, 82.5, 78.9, 72.3, 47.5, 3.4),
        ),
        "jpeg_l1": _row(
            _JPEG["l1"],
            (256, 1024, 4096, 16384, 65536, 131072),
            (84.8, 81.8, 76.2, 67.1, 46.4, 41.8),
        ),
        "elastic": _row(
            "elastic",
            (0.25, 0.5, 2, 4, 8, 16),
            (85.9, 83.2, 78.1, 75.6, 57.0, 22.5),
        ),
        "fog": _row(
            "fog",
            (128, 256, 512, 2048, 4096, 8192),
            (85.8, 83.8, 79.0, 68.4, 67.9, 64.7),
            _PIXEL,
            rel_step_size=_WEATHER,
        ),
        "gabor": _row(
            "gabor",
            (6.25, 12.5, 25, 400, 800, 1600),
            (84.0, 79.8, 79.8, 66.2, 44.7, 14.6),
            _PIXEL,
            rel_step_size=_WEATHER,
        ),
        "snow": _row(
            "snow",
            (0.0625, 0.125, 0.25, 2, 4, 8),
            (84.0, 81.1, 77.7, 65.6, 59.5, 41.2),
            rel_step_size=_WEATHER,
        ),
    },
}
