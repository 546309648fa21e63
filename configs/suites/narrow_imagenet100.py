"""ImageNet-100 under the narrow threat models and two perceptual attacks.

    python eval.py --config=configs/suites/narrow_imagenet100.py --checkpoint=runs/…
    python eval.py --config=configs/suites/narrow_imagenet100.py:no_alexnet --checkpoint=runs/…

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, table 3, at the medium bounds of their table 4; see narrow_cifar.py. PPGD and LPA
are bounded in torchvision's AlexNet; `no_alexnet` leaves them out. Where its weights are not on
the machine and no path is given, the AlexNet of the package stlpips_pytorch stands in, if that is
installed; a line and the report say so. Another data set than ImageNet-100 has its own split:
`--config.data.name=shapes/64 --config.split=test`.
"""

from configs.suites.base import calibrated
from configs.suites.narrow_cifar import Budgets, narrow

BUDGETS, JPEG = Budgets(4 / 255, 1200 / 255, 0.5), 0.125


def get_config(which="attacks"):
    return narrow(
        "narrow_imagenet100",
        which,
        BUDGETS,
        200,
        "alexnet",
        {"jpeg": calibrated("jpeg", JPEG, 200)},
        split="validation",
    )
