"""Every training of the CIFAR-10 table at a size for two cores, on rendered colored shapes.

    python train.py --config=configs/perceptual/shapes_table2.py:linf --workdir=runs/linf

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, table 2; see cifar10_table2.py for what stands behind the colon. The network, the
epochs and the clean ones before them are those of shapes_pat_self.py, attacks take 5 steps, and the
budgets are those of configs/suites/narrow_shapes.py. `pat_alexnet` is bounded in the AlexNet of the
package stlpips_pytorch, which `pip install 'jaxadv[perceptual]'` brings.
"""

from configs.perceptual import shapes_pat_self
from configs.perceptual.cifar10_table2 import narrow, row
from configs.suites.base import STLPIPS
from configs.suites.narrow_shapes import BUDGETS
from jaxadv.training import settings

STEPS = 5
# Of PAT in that AlexNet: two and a half times the ball of the suite's LPA, which is what
# shapes_pat_alexnet.py takes in the network of its own.
EPS = 0.175


def get_config(which="pat_self"):
    config = shapes_pat_self.get_config()
    if which == "pat_self":
        return config
    if which == "pat_alexnet":
        with config.unlocked():
            for attack in (config.attack, config.validation.attack):
                attack.threat.eps, attack.threat.network = EPS, {"name": STLPIPS}
        return settings.complete(config)
    attacks = narrow(BUDGETS, STEPS)
    if which == "trades":
        config = row(config, attacks, "linf", ())
        config.defense = {"name": "trades"}
        return settings.complete(config)
    if which == "normal":
        config.clean_epochs = 0
    return row(config, attacks, which, ("trades", "pat_self", "pat_alexnet"))
