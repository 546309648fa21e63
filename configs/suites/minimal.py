"""The smallest perturbations that are found in four norms, and accuracy at every budget.

    python eval.py --config=configs/suites/minimal.py --checkpoint=runs/demo
    python eval.py --config=configs/suites/minimal.py --checkpoint=runs/demo --config.examples=0

Every attack minimizes a norm, with the whole unit box as its budget, so that the table's
accuracies are near 0 and say little: look at the curves, each read off one attack's sizes, and at
the distances. FMN (Pintor et al., 2021) in linf, l2, l1 and l0, DDN (Rony et al., 2019) and Carlini
and Wagner (2017) in l2, the elastic net (Chen et al., 2018) in l1. The last two take 300 steps a
round here, in place of 1,000.
"""

from configs.suites.base import suite

BOX = {"linf": 1.0, "l2": 1e3, "l1": 1e6, "l0": 1e6}  # no larger norm in any image


def get_config():
    chosen = (
        ("fmn", "linf"), ("fmn", "l2"), ("fmn", "l1"), ("fmn", "l0"),
        ("ddn", "l2"), ("carlini_wagner", "l2"), ("elastic_net", "l1"),
    )  # fmt: skip
    attacks = {
        f"{name}_{norm}": {"name": name, "threat": {"name": norm, "eps": BOX[norm]}}
        for name, norm in chosen
    }
    for label in ("carlini_wagner_l2", "elastic_net_l1"):
        attacks[label]["round_steps"] = 300
    return suite(
        "minimal",
        attacks,
        examples=100,
        batch_size=50,
        unions={},
        overlap=(),
        distances={"l2": {"name": "l2"}, "linf": {"name": "linf"}},
    )
