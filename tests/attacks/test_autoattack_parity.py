"""AutoAttack's components beside the authors' own on a small robust network.

The network and the authors' results are `tests/golden/autoattack.npz`. The alarm goes
both ways: an attack that leaves more is weak, and one that leaves fewer cheats, unless
the authors' union of attacks leaves as few. `apgd-ce-stages` is the l1 Auto-PGD of
the authors' version "standard", with one restart.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import Apgd, ApgdL1, Fab, Square
from jaxadv.classifier import Classifier
from jaxadv.craft import Crafter, craft_batches
from jaxadv.objectives import DLR, CrossEntropy, LikelyTarget
from jaxadv.threats import L1, L2, Linf
from tests.paths import GOLDEN

STORED = np.load(GOLDEN / "autoattack.npz")
THREATS = {"linf": Linf(0.1), "l2": L2(0.7), "l1": L1(1.5)}
IMAGES = STORED["image"].astype(np.float32) / 255
LABELS = STORED["label"].astype(np.int32)
MANY = ("apgd-t", "fab", "fab-t")  # long searches, on the first 100 of 250 images
CRAFTER = Crafter()


def _perceptron(variables, image, key):
    hidden = jax.nn.relu(image.reshape(-1) @ variables["w0"] + variables["b0"])
    return hidden @ variables["w2"] + variables["b2"]


WEIGHTS = {k: jnp.asarray(STORED[k]) for k in ("w0", "b0", "w2", "b2")}
MODEL = Classifier.from_function(_perceptron, WEIGHTS)
RIGHT = np.asarray(jax.vmap(MODEL)(IMAGES)).argmax(-1) == LABELS


def component(name, threat):
    def apgd(objective, **fields):
        if threat.norm != "l1":
            return Apgd(threat, objective, steps=100, **fields)
        one = {"stages": (1.0,), "fractions": (1.0,)}
        return ApgdL1(threat, objective, steps=100, **one, **fields)

    fields = {"round_steps": 100, "search": 0, "early_stop": True}
    return {
        "apgd-ce": lambda: apgd(CrossEntropy()),
        "apgd-ce-stages": lambda: ApgdL1(threat, CrossEntropy(), steps=100),
        "apgd-dlr": lambda: apgd(DLR()),
        "apgd-t": lambda: apgd(LikelyTarget(), restarts=9),
        "fab": lambda: Fab(threat, **fields),
        "fab-t": lambda: Fab(threat, targets=9, **fields),
        "square": lambda: Square(threat, steps=5000, rescale=False),
    }[name]()


def left(attack, count=None):
    """[count] the images that are right and that the attack does not break."""
    rows = np.flatnonzero(RIGHT[:count])
    found = craft_batches(
        attack, MODEL, jax.random.key(0), IMAGES[rows], LABELS[rows],
        batch_size=32, chunk_steps=20, crafter=CRAFTER,
    )  # fmt: skip
    survives = RIGHT[:count].copy()
    survives[rows] = ~found.success
    return survives


NAMES = sorted(name for name in STORED.files if "/" in name)


@pytest.mark.parametrize("name", NAMES)
def test_each_component_leaves_what_the_authors_leaves(name):
    norm, component_name = name.split("/")
    count = 100 if component_name in MANY else len(LABELS)
    ours = left(component(component_name, THREATS[norm]), count).sum()
    theirs = STORED[name][:count].sum()
    of_norm = [STORED[k][:count] for k in NAMES if k.startswith(norm)]
    union = np.all(of_norm, axis=0).sum()
    # One image may differ.
    assert min(theirs, union) - 1 <= ours <= theirs + 1


def test_the_alarm_rings_for_a_weak_component():
    weak = Apgd(THREATS["linf"], CrossEntropy(), steps=2)
    assert left(weak).sum() > STORED["linf/apgd-ce"].sum() + 1
