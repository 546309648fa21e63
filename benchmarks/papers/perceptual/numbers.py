"""What the paper prints, in percent.

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen
threat models", 2021.
"""

# Tables 2 (CIFAR-10) and 3 (ImageNet-100): row -> accuracies in the order of `COLUMNS`,
# None where the table has none.
COLUMNS = {
    "cifar10": (
        "union", "unseen mean", "clean", "linf", "l2", "stadv", "recolor", "ppgd", "lpa"
    ),
    "imagenet100": (
        "union", "unseen mean", "clean", "linf", "l2", "jpeg", "stadv", "recolor",
        "ppgd", "lpa",
    ),
}  # fmt: skip
TRAININGS = {
    "cifar10": {
        "normal": (0.0, 0.1, 94.8, 0.0, 0.0, 0.0, 0.4, 0.0, 0.0),
        "linf": (1.0, 19.6, 86.8, 49.0, 19.2, 4.8, 54.5, 1.6, 0.0),
        "trades": (4.6, 23.3, 84.9, 52.5, 23.3, 9.2, 60.6, 2.0, 0.0),
        "l2": (4.0, 25.3, 85.0, 39.5, 47.8, 7.8, 53.5, 6.3, 0.3),
        "stadv": (0.0, 1.4, 86.2, 0.1, 0.2, 53.9, 5.1, 0.0, 0.0),
        "recolor": (0.0, 3.1, 93.4, 8.5, 3.9, 0.0, 65.0, 0.1, 0.0),
        "random": (0.7, None, 85.2, 22.0, 23.4, 1.2, 46.9, 1.8, 0.1),
        "average": (14.7, None, 86.8, 39.9, 39.6, 20.3, 64.8, 10.6, 1.1),
        "maximum": (21.4, None, 84.0, 25.7, 30.5, 40.0, 63.8, 8.6, 1.1),
        "pat_self": (21.9, 45.6, 82.4, 30.2, 34.9, 46.4, 71.0, 13.1, 2.1),
        "pat_alexnet": (27.8, 48.5, 71.6, 28.7, 33.3, 64.5, 67.5, 26.6, 9.8),
    },
    "imagenet100": {
        "normal": (0.0, 0.1, 89.1, 0.0, 0.0, 0.0, 0.0, 2.4, 0.0, 0.0),
        "linf": (0.5, 11.3, 81.7, 55.7, 3.7, 10.8, 4.6, 37.5, 1.5, 0.0),
        "l2": (12.3, 31.5, 75.3, 46.1, 41.0, 56.6, 22.8, 31.2, 22.0, 0.5),
        "jpeg": (0.1, 7.4, 84.8, 13.7, 1.8, 74.8, 0.3, 21.0, 0.5, 0.0),
        "stadv": (0.6, 2.1, 77.1, 2.6, 1.2, 3.7, 65.3, 2.9, 0.6, 0.0),
        "recolor": (0.0, 0.1, 90.1, 0.2, 0.0, 0.1, 0.0, 69.3, 0.0, 0.0),
        "random": (0.9, None, 78.6, 38.3, 26.4, 61.3, 1.4, 32.5, 16.1, 0.2),
        "pat_self": (32.5, 46.4, 72.6, 45.0, 37.7, 53.0, 51.3, 45.1, 29.2, 2.4),
        "pat_alexnet": (25.5, 44.7, 75.7, 46.8, 41.0, 55.9, 39.0, 40.8, 31.1, 1.6),
    },
}

# Table 4, ImageNet-100: attack -> (perceptibility, strength) at the small, the medium
# and the large bound.
BOUNDS = {
    "linf": ((7, 30.4), (11, 44.3), (39, 55.7)),
    "l2": ((8, 40.6), (12, 59.0), (51, 88.5)),
    "jpeg": ((6, 19.5), (16, 25.2), (51, 44.0)),
    "stadv": ((8, 28.1), (17, 34.7), (37, 55.4)),
    "recolor": ((14, 14.8), (42, 30.8), (75, 71.1)),
    "ppgd": ((7, 47.9), (9, 68.6), (25, 91.8)),
    "lpa": ((14, 76.5), (27, 98.4), (45, 100.0)),
}

# Table 5, ImageNet-100: accuracy of a network trained by PAT.
PROJECTIONS = {
    "ppgd_self_bisection": 43.3,
    "ppgd_self_newton": 49.7,
    "ppgd_external_bisection": 45.2,
    "ppgd_external_newton": 28.7,
    "lpa_self_bisection": 39.6,
    "lpa_self_newton": 53.8,
    "lpa_external_bisection": 4.2,
    "lpa_external_newton": 2.4,
}
