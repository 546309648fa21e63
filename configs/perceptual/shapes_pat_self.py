"""Self-bounded perceptual adversarial training (PAT) of a narrow ResNet on colored shapes.

    python train.py --config=configs/perceptual/shapes_pat_self.py --workdir=runs/shapes_pat_self

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, algorithm 3 and section 5, at a size that trains on two cores: half of their
attack steps, and clean epochs first. All images are attacked, not only the correct ones; give
`--config.defense.only_attack_correct=true` for that (their appendix F).
"""

from configs.baselines import shapes_clean
from jaxadv.training import settings


def fast_lpa(eps, steps, **fields):
    """A Fast-LPA spec, self-bounded."""
    threat = {"name": "lpips", "eps": eps}
    return {"name": "fast_lpa", "threat": threat, "steps": steps, **fields}


def get_config():
    config = shapes_clean.base()
    config.clean_epochs = 6
    config.defense = {"name": "adversarial"}
    config.attack = fast_lpa(0.3, steps=5)
    config.validation.attack = fast_lpa(0.3, steps=10, project=True)
    return settings.complete(config)
