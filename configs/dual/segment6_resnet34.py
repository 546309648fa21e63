"""Transfer learning on objects cut out of COCO: a ResNet-34 with a stem for 32x32.

    jaxadv prepare segment6 --from /datasets/coco
    python train.py --config=configs/dual/segment6_resnet34.py --workdir=runs/segment6_clean \\
        --config.init_from=weights/resnet34-b627a593.pth
    python train.py --config=configs/dual/segment6_resnet34.py:dual --workdir=runs/segment6_dual \\
        --config.init_from=weights/resnet34-b627a593.pth

Tong et al., "Towards robustness against unsuspicious adversarial examples", appendix: as
`stl10_resnet34.py`, for 60 epochs in batches of 128, the rate a tenth after every 20. The first
convolution is of 3x3 and stride 1, and begins new. Budgets are 0.5 on the object and 2.5 behind it
in l2, 8/255 and 40/255 in linf; the masks are COCO's.
"""

from configs.dual import stl10_resnet34
from jaxadv.training import settings

BUDGETS = {"l2": (0.5, 2.5), "linf": (8 / 255, 40 / 255)}


def get_config(text="clean"):
    config = stl10_resnet34.recipe("segment6", text, BUDGETS)
    config.epochs = 60
    config.batch_size = 128
    config.schedule.drop_epochs = (20, 40)
    config.model["stem"] = "imagenet_3x3"
    config.init_new = ("stem",)
    return settings.complete(config)
