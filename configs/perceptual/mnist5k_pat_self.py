"""Self-bounded perceptual adversarial training (PAT) on 5,000 MNIST digits.

    python train.py --config=configs/perceptual/mnist5k_pat_self.py --workdir=runs/mnist5k_pat_self

As mnist5k_pgd_at.py, with two clean epochs first and Fast-LPA in place of PGD.
The ball changes with the network, so the last epoch counts as the best. Measured with seed 0, on
the 400 digits held out of training: 96.0 % correct and 76.8 % under projected Fast-LPA-10 at 0.3.
"""

from configs.baselines import mnist5k_pgd_at
from jaxadv.training import settings


def get_config():
    config = mnist5k_pgd_at.get_config()
    attack = {"name": "fast_lpa", "threat": {"name": "lpips", "eps": 0.3}, "steps": 7}
    with config.unlocked():
        config.clean_epochs = 2
        config.attack = attack
        config.validation.attack = attack | {"steps": 10, "project": True}
    return settings.complete(config)
