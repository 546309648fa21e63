"""Certified accuracy in l2 of the network smoothed by Gaussian noise.

    python eval.py --config=configs/suites/certify.py --checkpoint=runs/gaussian \\
        --config.smoothing.sigma=0.25

Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing",
2019, at their numbers: every twentieth of 10,000 images, 100 + 100,000 draws each, alpha =
0.001. Without a sigma it is that of the training. `--config.smoothing.draws=1000` is a
first look: its radii end at 2.46 sigma.
"""

from jaxadv import schema
from jaxadv.evaluation.certificates import Fields


def get_config():
    return schema.config(Fields)
