"""Transfer learning on ten classes of ImageNet: a ResNet-34 with a new head.

    jaxadv prepare imagenet10 --from /datasets/imagenet
    python train.py --config=configs/dual/imagenet10_resnet34.py --workdir=runs/in10_clean \\
        --config.init_from=weights/resnet34-b627a593.pth

As `stl10_resnet34.py`, with `:pgd`, `:dual` and `,linf`; in l2 the budgets are 2 on the foreground
and 20 behind it. The size of the images is not printed: here it is 224x224.
"""

from configs.dual import stl10_resnet34
from jaxadv.training import settings

BUDGETS = {"l2": (2.0, 20.0), "linf": (4 / 255, 20 / 255)}


def get_config(text="clean"):
    return settings.complete(stl10_resnet34.recipe("imagenet10", text, BUDGETS))
