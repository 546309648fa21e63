"""Every training of the ImageNet-100 table, row by row.

    python train.py --config=configs/perceptual/imagenet100_table3.py:jpeg --workdir=runs/jpeg

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, table 3; see cifar10_table2.py. Behind the colon: `normal`; `linf` (4/255), `l2`
(1200/255), `jpeg` (0.125), `stadv` (0.05), `recolor` (0.06); all five, `random` (theirs), `average` or
`maximum`; `pat_self`, `pat_alexnet`. Made for several GPUs or a pod; not run here.
"""

from configs.perceptual import imagenet100_pat_alexnet, imagenet100_pat_self
from configs.perceptual.cifar10_table2 import ball, narrow, row
from configs.suites.narrow_imagenet100 import BUDGETS, JPEG


def get_config(which="pat_self"):
    if which == "pat_self":
        return imagenet100_pat_self.get_config()
    if which == "pat_alexnet":
        return imagenet100_pat_alexnet.get_config()
    attacks = narrow(BUDGETS, jpeg=ball("jpeg", JPEG))
    config = imagenet100_pat_self.get_config()
    return row(config, attacks, which, ("pat_self", "pat_alexnet"))
