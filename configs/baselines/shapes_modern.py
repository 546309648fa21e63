"""What each part of today's recipe brings, on rendered colored shapes.

    python train.py --config=configs/baselines/shapes_modern.py:trades --workdir=runs/trades
    python train.py --config=configs/baselines/shapes_modern.py:trades+ema+awp --workdir=runs/awp
    python train.py --config=configs/baselines/shapes_modern.py:all --workdir=runs/all

The text behind the colon is a list of parts: `trades` in place of PGD adversarial training, `ema`
(averaged weights), `awp` (weight perturbation), `smoothing` (of labels), `cutmix`, `cosine` (with a
warm-up in place of drops); `all` is all of them. The full recipe, with a wide network and images of a
generative model, is `configs/baselines/cifar10_wrn_dm.py`.
"""

from configs.baselines import shapes_pgd_at
from jaxadv.specs import UsageError
from jaxadv.training import settings

PARTS = ("trades", "ema", "awp", "smoothing", "cutmix", "cosine")


def get_config(text="all"):
    parts = PARTS if text == "all" else tuple(filter(None, text.split("+")))
    for part in parts:
        if part not in PARTS:
            raise UsageError(
                f"shapes_modern has no part {part!r}; give some of {', '.join(PARTS)}, "
                "joined by +, or all"
            )
    config = shapes_pgd_at.get_config()
    if "trades" in parts:
        config.defense = {"name": "trades"}
    if "ema" in parts:
        config.ema_decay = 0.99
    if "awp" in parts:
        config.awp.gamma = 0.005
    if "smoothing" in parts:
        config.label_smoothing = 0.1
    if "cutmix" in parts:
        config.data.mix = {"name": "cutmix"}
    if "cosine" in parts:
        config.schedule.name = "cosine"
        config.schedule.warmup_epochs = 1.0
    return settings.complete(config)
