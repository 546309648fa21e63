"""AutoAttack: four parameter-free attacks, each on what those before have left.

    python eval.py --config=configs/suites/autoattack.py --checkpoint=runs/demo
    python eval.py --config=configs/suites/autoattack.py:plus --checkpoint=runs/demo
    python eval.py --config=configs/suites/autoattack.py:standard,l2 --config.eps=0.5 …
    python eval.py --config=configs/suites/autoattack.py:standard,linf,individual …

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", 2020. Versions: `standard`; `plus`, with five restarts and untargeted
parts; `rand`, for networks with randomness, whose losses are means over 20 draws; or the names of
components with + between them: `apgd_ce+square`. Norms: `linf` (default), `l2`, and `l1`, which
has no Square here. As in the authors' code, `standard` in l1 searches larger balls first, from five
starts and for five targets; the other versions have one stage. `individual` at the end lets every
component attack all images, for the accuracy under each alone. The eps is that of the checkpoint's
training; `--config.eps=0.15` sets it.
"""

from configs.suites.base import ball, check_choice, suite
from jaxadv.specs import UsageError

VERSIONS = {
    "standard": ("apgd_ce", "apgd_t", "fab_t", "square"),
    "plus": ("apgd_ce", "apgd_dlr", "fab", "square", "apgd_t", "fab_t"),
    "rand": ("apgd_ce", "apgd_dlr"),
}
NORMS = ("linf", "l2", "l1")
TARGETS = 9
ONE_STAGE = {"stages": (1.0,), "fractions": (1.0,)}


def _component(name, norm, eps, restarts, samples, targets, fields):
    def apgd(objective, restarts):
        if samples:
            objective = {
                "name": "expectation",
                "objective": objective,
                "samples": samples,
            }
        return {
            "name": "apgd_l1" if norm == "l1" else "apgd",
            "threat": ball(norm, eps),
            "objective": objective,
            "steps": 100,
            "restarts": restarts,
            **fields,
        }

    def fab(targets, starts):
        return {
            "name": "fab",
            "threat": ball(norm, eps),
            "round_steps": 100,
            "targets": targets,
            "starts": starts,
            "search": 0,
            "early_stop": True,
        }

    parts = {
        "apgd_ce": lambda: apgd({"name": "cross_entropy"}, restarts),
        "apgd_dlr": lambda: apgd({"name": "dlr"}, restarts),
        "apgd_t": lambda: apgd({"name": "likely_target"}, targets),
        "fab": lambda: fab(0, restarts),
        "fab_t": lambda: fab(TARGETS, 1),
        "square": lambda: {
            "name": "square",
            "threat": ball(norm, eps),
            "steps": 5000,
            "rescale": False,
        },
    }
    if name not in parts:
        raise UsageError(
            f"AutoAttack has no version or component {name!r}; it has the versions "
            f"{', '.join(VERSIONS)} and, to be joined by +, {', '.join(parts)}"
        )
    return parts[name]()


def components(version="standard", norm="linf", eps=None, prefix=""):
    """Label -> attack spec, in the order of the cascade."""
    if norm not in NORMS:
        raise UsageError(f"AutoAttack's norm is {norm!r}; allowed: {', '.join(NORMS)}")
    names = VERSIONS.get(version) or tuple(version.split("+"))
    if norm == "l1":
        names = tuple(name for name in names if name != "square")
    staged = (version, norm) == ("standard", "l1")
    restarts = 5 if version == "plus" or staged else 1
    samples = 20 if version == "rand" else 0
    targets = 5 if staged else TARGETS
    fields = ONE_STAGE if norm == "l1" and not staged else {}
    if samples:  # the first success of a random network may be a lucky draw
        fields = {**fields, "early_stop": False}
    return {
        prefix + name: _component(name, norm, eps, restarts, samples, targets, fields)
        for name in names
    }


def get_config(text="standard"):
    version, norm, order, *_ = *text.split(","), "", ""
    norm, order = norm or "linf", order or "cascade"
    check_choice("autoattack", order, ("cascade", "individual"))
    attacks = components(version, norm)
    # Other components are not what a RobustBench file calls AutoAttack, nor l1's, which
    # lack a Square.
    name = "autoattack" if version in VERSIONS and norm != "l1" else "cascade"
    title, labels = f"autoattack_{version}_{norm}", {name: tuple(attacks)}
    fields = {"cascades": labels, "unions": {}}
    if order == "individual":
        title, fields = f"{title}_{order}", {"unions": labels}
    return suite(
        title,
        attacks,
        overlap=(),
        chunk_steps=10,
        draws=20 if version == "rand" else 1,
        **fields,
    )
