"""Seven attacks at three bounds each: how strong they are, and how far images move.

    python eval.py --config=configs/suites/bounds.py:shapes --checkpoint=runs/shapes_pat_self
    python eval.py --config=configs/suites/bounds.py:imagenet100 --checkpoint=runs/…

Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense against unseen threat
models", 2021, table 4: `_1` are half and `_3` twice the medium bounds, `_2`, which are those of
narrow_imagenet100.py and narrow_shapes.py. The network of LPA and PPGD is as there. Searches are PGD
on the margin, whatever the paper's were. `overlap` is the triple of its figure 2; distances are
measured in networks with and without training, as in its figures 4c and 5, and for `shapes` also with
the weights of stlpips_pytorch that were fitted to people's judgements.
"""

import dataclasses

from configs.suites import narrow_imagenet100, narrow_shapes
from configs.suites.base import (
    STLPIPS,
    ball,
    check_choice,
    external,
    functional,
    pgd,
    suite,
    sweep,
)
from configs.suites.narrow_cifar import Budgets, perceptual

SCALES = (0.5, 1.0, 2.0)


@dataclasses.dataclass(frozen=True)
class Size:
    """The medium bounds of a data set, and how long they are searched."""

    budgets: Budgets
    jpeg: float
    network: str
    untrained: str
    steps: int
    perceptual_steps: int
    split: str
    examples: int


SIZES = {
    "shapes": Size(narrow_shapes.BUDGETS, 0.0625, STLPIPS, STLPIPS, 20, 8, "test", 200),
    "imagenet100": Size(
        narrow_imagenet100.BUDGETS,
        narrow_imagenet100.JPEG,
        "alexnet",
        "alexnet",
        200,
        40,
        "validation",
        1000,
    ),
}


def medium(size):
    """Label -> spec at the medium bound."""
    bounds = size.budgets
    found = {
        name: pgd(ball(name, eps), size.steps, 0.1, objective={"name": "margin"})
        for name, eps in (("linf", bounds.linf), ("l2", bounds.l2), ("jpeg", size.jpeg))
    }
    for name in ("stadv", "recolor"):
        found[name] = functional(name, getattr(bounds, name), size.steps)
    return found | perceptual(bounds.lpips, size.network, size.perceptual_steps)


def get_config(which="shapes"):
    check_choice("bounds", which, tuple(SIZES))
    size, attacks, sweeps = SIZES[which], {}, {}
    for name, spec in medium(size).items():
        eps = spec["threat"]["eps"]
        more, sweeps[name] = sweep(name, spec, [scale * eps for scale in SCALES])
        attacks |= more
    distances = {
        "linf": {"name": "linf"},
        "l2": {"name": "l2"},
        "ssim": {"name": "ssim"},
        "lpips_self": {"name": "lpips"},
        "lpips": {"name": "lpips", "network": external(size.network)},
        "lpips_untrained": {
            "name": "lpips",
            "network": {"name": "untrained", "arch": size.untrained},
        },
    }
    if size.network == STLPIPS:
        distances["lpips_learned"] = {
            "name": "lpips",
            "network": {"name": STLPIPS},
            "linear": STLPIPS,
            "squared": True,
        }
    return suite(
        f"bounds_{which}",
        attacks,
        sweeps=sweeps,
        overlap=("l2_2", "stadv_2", "lpa_2"),
        distances=distances,
        split=size.split,
        examples=size.examples,
        batch_size=100,
        chunk_steps=10,
    )
