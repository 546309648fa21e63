"""Perceptual robustness of a classifier of `shapes`: l-infinity, l2, spatial and LPA.

    python eval.py --config=configs/suites/perceptual.py --checkpoint=runs/shapes_pat_self
    python eval.py --config=configs/suites/perceptual.py:stlpips --checkpoint=runs/shapes_pat_self

LPA is bounded in an external network, `--config.attacks.lpa.threat.network.path`: the same ball
for every classifier, which self-bounded LPA is not. `stlpips` takes the AlexNet of the package
stlpips_pytorch, which needs no training, at 0.07: there lie the images that LPA of 0.2 in the other
network finds, whose median is 0.08, and those of PGD in an l2 ball of 0.5, whose median is 0.06.
"""

from configs.suites.base import STLPIPS, ball, check_choice, pgd, suite


def _pgd(name, eps):
    margin = {"name": "margin"}
    return pgd(ball(name, eps), steps=20, rel_step_size=0.2, objective=margin)


# The text after the colon -> the network of LPA, and its eps there.
BALLS = {
    "run": ({"name": "run", "path": "runs/shapes_alexnet"}, 0.2),
    "stlpips": ({"name": STLPIPS}, 0.07),
}


def get_config(which="run"):
    check_choice("perceptual", which, tuple(BALLS))
    network, eps = BALLS[which]
    attacks = {
        "linf": _pgd("linf", 4 / 255),
        "l2": _pgd("l2", 0.5),
        "spatial": {
            "name": "grid",
            "threat": {"name": "rotation_translation", "border": "nearest"},
            "points": (9, 3, 3),
        },
        "lpa": {
            "name": "lpa",
            "threat": {"name": "lpips", "eps": eps, "network": dict(network)},
            "rounds": 5,
            "round_steps": 8,
        },
    }
    distances = {
        "lpips_self": {"name": "lpips"},
        "lpips_external": {"name": "lpips", "network": dict(network)},
        "l2": {"name": "l2"},
        "ssim": {"name": "ssim"},
    }
    return suite(
        "perceptual" if which == "run" else f"perceptual_{which}",
        attacks,
        examples=200,
        batch_size=100,
        distances=distances,
        overlap=("linf", "spatial", "lpa"),
    )
