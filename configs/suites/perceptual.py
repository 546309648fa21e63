"""Perceptual robustness of a classifier of `shapes`: l-infinity, l2, spatial and LPA.

    python eval.py --config=configs/suites/perceptual.py --checkpoint=runs/shapes_pat_self

LPA is bounded in an external network, `--config.attacks.lpa.threat.network.path`: the same ball
for every classifier, which self-bounded LPA is not.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def _pgd(name, eps):
    return {
        "name": "pgd",
        "threat": {"name": name, "eps": eps},
        "objective": {"name": "margin"},
        "steps": 20,
        "rel_step_size": 0.2,
        "early_stop": True,
    }


def _external():
    return {"name": "run", "path": "runs/shapes_alexnet"}


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "perceptual"
    config.data = {"name": placeholder(str), "data_dir": placeholder(str)}
    config.split = "test"
    config.examples = 200
    config.seed = 0
    config.batch_size = 100
    config.chunk_steps = 5
    config.eps = placeholder(float)
    config.attacks = {
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
    config.unions = {"union": placeholder(tuple)}
    config.seen = placeholder(tuple)
    config.curve = {}
    config.distances = {
        "lpips_self": {"name": "lpips"},
        "lpips_external": {"name": "lpips", "network": _external()},
        "l2": {"name": "l2"},
        "ssim": {"name": "ssim"},
    }
    config.overlap = ("linf", "spatial", "lpa")
    config.pictures = 6
    config.about = {
        "link": "",
        "name": "",
        "authors": "",
        "additional_data": False,
        "venue": "",
        "reported": "",
        "footnote": "",
    }
    return config
