"""UAR: every calibrated attack at its six budgets, against networks trained for each.

    python eval.py --config=configs/suites/uar.py --checkpoint=runs/cifar10_pat_self
    python eval.py --config=configs/suites/uar.py:imagenet100 --checkpoint=runs/…
    python eval.py --config=configs/suites/uar.py:cifar10,elastic+jpeg_linf --checkpoint=runs/…

Kang, Sun, Hendrycks, Brown and Steinhardt, "Testing robustness against unforeseen adversaries",
2019: 200 targeted steps toward a random class, of eps / sqrt(200), for Fog, Gabor and Snow of
0.002236 on numbers up to 1. Where no accuracy of such networks is published (jpeg_l2 on CIFAR-10)
there is a row and no UAR. ImageNet-100 has no test images; its split is `validation`.
"""

from configs.suites.base import pgd, suite, sweep
from jaxadv.evaluation.metrics.calibration import CALIBRATIONS, STEPS
from jaxadv.specs import UsageError


def get_config(which="cifar10"):
    data, _, chosen = which.partition(",")
    if data not in CALIBRATIONS:
        allowed = ", ".join(CALIBRATIONS)
        raise UsageError(f"UAR has no data set {data!r}; allowed: {allowed}")
    rows = CALIBRATIONS[data]
    target, attacks, sweeps = {"name": "random_target"}, {}, {}
    for name in chosen.split("+") if chosen else rows:
        if name not in rows:
            raise UsageError(
                f"UAR has no {name!r} on {data}; it has: {', '.join(rows)}"
            )
        row = rows[name]
        spec = pgd(dict(row.threat), STEPS, row.rel_step_size, objective=target)
        more, sweeps[name] = sweep(name, spec, row.eps, row.ata)
        attacks |= more
    return suite(
        f"uar_{data}",
        attacks,
        sweeps=sweeps,
        overlap=(),
        batch_size=100,
        split="validation" if data == "imagenet100" else "test",
    )
