"""Foreground and background apart: dual perturbations beside PGD, on rendered shapes.

    python eval.py --config=configs/suites/dual.py --checkpoint=runs/shapes_dual
    python eval.py --config=configs/suites/dual.py:linf --checkpoint=runs/shapes_dual
    python eval.py --config=configs/suites/dual.py --checkpoint=runs/shapes_dual \\
        --config.attacks.salient.objective.network.path=runs/saliency.safetensors

Tong et al., "Towards robustness against unsuspicious adversarial examples": PGD in the ball of the
foreground's budget, dual perturbations whose background may change five times as much, and the
same with the saliency term. The network of `salient` is one that `jaxadv saliency` has trained;
it also says how much of what people look at is foreground, before and after, and stands in the
pictures. `:l2,plain` and `:linf,plain` leave it out. Masks are the data set's.
"""

from configs.dual.shapes_dual import BUDGETS, dual
from configs.suites.base import ball, check_choice, pgd, suite

STEPS, STEP = 20, 0.125  # 2.5 budgets in all


def get_config(text="l2"):
    norm, _, which = text.partition(",")
    check_choice("dual", norm, tuple(BUDGETS))
    check_choice("dual", which or "salient", ("salient", "plain"))
    attacks = {
        "pgd": pgd(ball(norm, BUDGETS[norm][0]), STEPS, STEP),
        "dual": dual(norm, STEPS, STEP),
    }
    fields = {}
    if which != "plain":
        network = {"name": "file", "path": "runs/saliency.safetensors"}
        fields["saliency"] = network
        salient = {"name": "salient", "lam": 1.0, "network": network}
        attacks["salient"] = dual(norm, STEPS, STEP, objective=salient)
    return suite(f"dual_{norm}", attacks, examples=200, batch_size=100, **fields)
