"""A wide ResNet on CIFAR-10 beside a million images of a diffusion model.

    python train.py --config=configs/baselines/cifar10_wrn_dm.py --workdir=runs/wrn_dm

Wang, Pang, Du, Lin, Liu and Yan, "Better diffusion models further improve adversarial training"
(2023), and the authors' code: TRADES with beta 5, a WRN-28-10 with SiLU, 0.7 of each batch of
512 from generated images (`cifar10_1m.npz` of `image` and `label` where the data lie; the authors
publish it as 1m.npz), label smoothing 0.1, averaged
weights, SGD with Nesterov momentum 0.9, a learning rate of 0.2 that rises over 10 of the 400 epochs and
falls along a cosine. `:awp` adds weight perturbation of 0.005 (Wu, Xia and Wang, 2020), `:cutmix` mixes
the images (Rebuffi et al., "Data augmentation can improve robustness", 2021), which the source does not.
"""

from jaxadv.specs import UsageError
from jaxadv.training import settings

EXTRAS = ("", "awp", "cutmix")


def get_config(text=""):
    if text not in EXTRAS:
        raise UsageError(
            f"cifar10_wrn_dm has no variant {text!r}; give awp, cutmix or nothing"
        )
    config = settings.default_config()
    config.epochs = 400
    config.batch_size = 512
    config.data.name = "cifar10"
    config.data.augment = ("pad_crop", "flip")
    config.data.validation = 1024
    config.data.extra, config.data.extra_share = "npz:cifar10_1m.npz", 0.7
    config.model = {"name": "wrn_28_10_dm"}
    config.normalize.mean = (0.4914, 0.4822, 0.4465)
    config.normalize.std = (0.2471, 0.2435, 0.2616)
    config.defense = {"name": "trades", "beta": 5.0}
    config.attack = {
        "name": "pgd",
        "threat": {"name": "linf", "eps": 8 / 255},
        "steps": 10,
        "step_size": 2 / 255,
    }
    config.label_smoothing = 0.1
    config.ema_decay = 0.995
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.2
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 10.0
    if text == "awp":
        config.awp.gamma = 0.005
    if text == "cutmix":
        config.data.mix = {"name": "cutmix"}
    return settings.complete(config)
