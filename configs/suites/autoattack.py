"""AutoAttack without FAB: parameter-free attacks, each on what those before left.

    python eval.py --config=configs/suites/autoattack.py --checkpoint=runs/demo
    python eval.py --config=configs/suites/autoattack.py:plus --checkpoint=runs/demo
    python eval.py --config=configs/suites/autoattack.py:standard,l2 --config.eps=0.5 …

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", 2020. Versions: `standard`; `plus`, with five restarts and untargeted
parts; `rand`, for networks with randomness, whose losses are means over 20 draws; or the names of
components with + between them: `apgd_ce+square`. Norms: `linf` (default), `l2`, and `l1`, which
has no Square. FAB is not written yet; the results are upper bounds of AutoAttack's, so the union is
called `apgd_square` and fills no RobustBench field. The eps is that of the checkpoint's training; `--config.eps=0.15` sets it.
"""

from ml_collections.config_dict import placeholder

from configs.suites.base import ball, suite
from jaxadv.specs import UsageError

VERSIONS = {
    "standard": ("apgd_ce", "apgd_t", "square"),
    "plus": ("apgd_ce", "apgd_dlr", "square", "apgd_t"),
    "rand": ("apgd_ce", "apgd_dlr"),
}
NORMS = ("linf", "l2", "l1")
TARGETS = 9


def _component(name, norm, restarts, samples):
    def apgd(objective, restarts):
        if samples:
            objective = {
                "name": "expectation",
                "objective": objective,
                "samples": samples,
            }
        return {
            "name": "apgd_l1" if norm == "l1" else "apgd",
            "threat": ball(norm),
            "objective": objective,
            "steps": 100,
            "restarts": restarts,
        }

    parts = {
        "apgd_ce": lambda: apgd({"name": "cross_entropy"}, restarts),
        "apgd_dlr": lambda: apgd({"name": "dlr"}, restarts),
        "apgd_t": lambda: apgd({"name": "likely_target"}, TARGETS),
        "square": lambda: {"name": "square", "threat": ball(norm), "steps": 5000},
    }
    if name not in parts:
        raise UsageError(
            f"AutoAttack has no component {name!r}; it has: {', '.join(parts)}"
        )
    return parts[name]()


def get_config(version="standard"):
    version, _, norm = version.partition(",")
    norm = norm or "linf"
    if norm not in NORMS:
        raise UsageError(f"AutoAttack's norm is {norm!r}; allowed: {', '.join(NORMS)}")
    names = VERSIONS.get(version) or tuple(version.split("+"))
    if norm == "l1":
        names = tuple(name for name in names if name != "square")
    restarts = 5 if version == "plus" else 1
    samples = 20 if version == "rand" else 0
    attacks = {name: _component(name, norm, restarts, samples) for name in names}
    return suite(
        f"autoattack_{version}_{norm}",
        attacks,
        cascade=tuple(attacks),
        unions={"apgd_square": placeholder(tuple)},
        overlap=(),
        chunk_steps=10,
        draws=samples or 1,
    )
