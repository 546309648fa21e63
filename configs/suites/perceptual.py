"""Perceptual robustness of a classifier of `shapes`: l-infinity, l2, spatial and LPA.

    python eval.py --config=configs/suites/perceptual.py --checkpoint=runs/shapes_pat_self

LPA is bounded in an external network, `--config.attacks.lpa.threat.network.path`: the same ball
for every classifier, which self-bounded LPA is not. Where no path is given and there is no
`runs/shapes_alexnet`, the network of the package stlpips_pytorch stands in, if that is installed;
the bound of 0.2 is meant for the former.
"""

from configs.suites.base import OTHERWISE, ball, pgd, suite


def _pgd(name, eps):
    margin = {"name": "margin"}
    return pgd(ball(name, eps), steps=20, rel_step_size=0.2, objective=margin)


def _external():
    return {"name": "run", "path": "runs/shapes_alexnet", "otherwise": OTHERWISE}


def get_config():
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
            "threat": {"name": "lpips", "eps": 0.2, "network": _external()},
            "rounds": 5,
            "round_steps": 8,
        },
    }
    distances = {
        "lpips_self": {"name": "lpips"},
        "lpips_external": {"name": "lpips", "network": _external()},
        "l2": {"name": "l2"},
        "ssim": {"name": "ssim"},
    }
    return suite(
        "perceptual",
        attacks,
        examples=200,
        batch_size=100,
        distances=distances,
        overlap=("linf", "spatial", "lpa"),
    )
