"""The 15 common corruptions at five severities, mCE and relative mCE.

    python eval.py --config=configs/suites/corruptions.py --checkpoint=runs/a \\
        --config.corruptions.folder=CIFAR-10-C --config.corruptions.reference=runs/alexnet
    python eval.py --config=configs/suites/corruptions.py:imagenet100 ... (ImageNet-C)

The folders are read as published (Hendrycks and Dietterich, 2019), of ImageNet-C the
classes of ImageNet-100; see `jaxadv.evaluation.corruptions.sets`.
"""

from jaxadv import schema
from jaxadv.evaluation.corruptions import Fields


def get_config(data="cifar10"):
    config = schema.config(Fields)
    config.split = "validation" if data == "imagenet100" else "test"
    return config
