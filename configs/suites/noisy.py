"""A network that is random, under attacks that average over more and more of its draws.

    python eval.py --config=configs/suites/noisy.py --checkpoint=runs/shapes_l2p

PGD takes the gradient of the mean loss over 1, 4, 16 and 64 draws in each step (expectation over
transformation, EOT): a network whose accuracy falls from one to the next was protected by its luck
alone; the check R1 fails on the rows of few draws, which no one should report. `pgd_mean` takes the gradient of the network without its noise, where it can do without. The
network is judged by its mean prediction over 20 draws; the table "one draw at a time" has single
predictions and their majority beside it. PGD has the 7 steps and 0.01 of Jeddi et al.,
"Learn2Perturb", 2020, as fractions of their eps. `:pixels` has their attacks on 1, 2 and 3 pixels,
`:transfer` FGSM and PGD alone, whose images are judged by other networks, and `:plain` the two for
a network without noise, to be compared with.
"""

from configs.suites.base import ball, check_choice, pgd, suite

SAMPLES = (1, 4, 16, 64)
CE = {"name": "cross_entropy"}


def get_config(text="gradients"):
    check_choice("noisy", text, ("gradients", "pixels", "transfer", "plain"))
    attacks = _pixels() if text == "pixels" else _gradients()
    if text == "transfer":
        attacks = {label: attacks[label] for label in ("fgsm", "pgd_eot16")}
    if text == "plain":
        attacks = {"fgsm": {"name": "fgsm", "threat": ball()}, "pgd": _pgd(dict(CE))}
    name = "noisy" if text == "gradients" else f"noisy_{text}"
    return suite(name, attacks, draws=1 if text == "plain" else 20)


def _gradients():
    attacks = {"fgsm": {"name": "fgsm", "threat": ball(), "objective": _mean(16)}}
    for samples in SAMPLES:
        attacks[f"pgd_eot{samples:02}"] = _pgd(_mean(samples))
    attacks["pgd_mean"] = _pgd({"name": "without_noise"})
    return attacks


def _pixels():
    threat = {"name": "l0", "pixels": True}
    return {
        f"pixels_{k}": {
            "name": "few_pixel",
            "threat": {**threat, "eps": k},
            "objective": _mean(4),
        }
        for k in (1, 2, 3)
    }


def _mean(samples):
    return {"name": "expectation", "objective": dict(CE), "samples": samples}


def _pgd(objective):
    return pgd(ball(), 7, 0.01 * 255 / 8, objective=objective)
