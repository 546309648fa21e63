"""Self-bounded perceptual adversarial training (PAT) of a ResNet-50 on CIFAR-10.

    python train.py --config=configs/perceptual/cifar10_pat_self.py --workdir=runs/cifar10_pat_self

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, section 7 and table 12. Made for one GPU or more; not run here.

The augmentation is that of the authors' code. Batches are of 48, which 1, 2, 4 and 8 devices
share evenly; the paper's 50, `--config.batch_size=50`, are for 1, 2 or 5. Those of validation are
as large: what holds a training step holds it too. The ball changes with the network, so that
scores do not compare and the last epoch counts as the best.

The authors' code also warms the learning rate up and clips each entry of the gradient:
`--config.schedule.warmup_epochs=5 --config.optimizer.clip_value=1.0`. The ablations of tables 6
and 7: `--config.attack.step_decay=1.0`, `--config.attack.lam_growth=1.0` (with
`--config.attack.first_lam=10.0`), `--config.defense.only_attack_correct=false`,
`--config.attack.project=true`.
"""

from jaxadv.training import settings


def jitter(amount):
    """The same change of brightness, contrast and saturation."""
    return {
        "name": "color_jitter",
        "brightness": amount,
        "contrast": amount,
        "saturation": amount,
    }


def fast_lpa(eps, network=None, **fields):
    """A Fast-LPA spec; self-bounded without a network."""
    threat = {"name": "lpips", "eps": eps}
    if network is not None:
        threat["network"] = network
    return {"name": "fast_lpa", "threat": threat, "steps": 10, **fields}


def get_config():
    config = settings.default_config()
    config.epochs = 100
    config.batch_size = 48
    config.data.name = "cifar10"
    config.data.augment = (
        {"name": "pad_crop"},
        {"name": "flip"},
        jitter(0.25),
        {"name": "rotate", "degrees": 2.0},
    )
    config.data.validation = 1000
    config.normalize.mean = (0.4914, 0.4822, 0.4465)
    config.normalize.std = (0.2023, 0.1994, 0.2010)
    config.model = {"name": "resnet50"}
    config.defense = {"name": "adversarial", "only_attack_correct": True}
    config.attack = fast_lpa(0.5)
    config.validation.attack = fast_lpa(0.5, project=True)
    config.validation.batch_size = config.batch_size
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 2e-4
    config.schedule.name = "steps"
    config.schedule.drop_epochs = (75, 90)
    config.schedule.drop_factor = 0.1
    return settings.complete(config)
