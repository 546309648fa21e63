"""A network that cannot be differentiated: a refusal in one line, or a verdict."""

import jax
import numpy as np
import pytest

from jaxadv.attacks import Apgd, Ascent, Fgsm, Square
from jaxadv.classifier import obstacle
from jaxadv.craft import craft, craft_batches
from jaxadv.specs import UsageError
from jaxadv.threats import Linf
from tests import nets, planted
from tests.evaluation.test_checks_suite import CONFIG, evaluate

IMAGES, _ = nets.batch(4)
MODEL = planted.classifier(planted.no_gradient)
LABELS = nets.predicted(MODEL, IMAGES)
KEY = jax.random.key(0)
ASCENT = Ascent(Linf(0.1), steps=2, rel_step_size=0.5)


@pytest.mark.parametrize("attack", [ASCENT, Apgd(Linf(0.1), steps=2), Fgsm(Linf(0.1))])
def test_attacks_refuse_in_one_line_that_names_the_remedy(attack):
    for run in (craft, jax.jit(craft), craft_batches):
        with pytest.raises(UsageError) as told:
            run(attack, MODEL, KEY, IMAGES, LABELS)
        text = str(told.value)
        assert text.startswith(f"{type(attack).__name__} needs a gradient")
        assert "while_loop" in text and "\n" not in text
        assert all(word in text for word in ("scan", "custom_vjp", "square"))


def test_attacks_without_gradients_run():
    square = Square(Linf(0.1), steps=3)
    found = craft_batches(square, MODEL, KEY, IMAGES, LABELS, batch_size=4)
    assert np.all(found.size <= 0.1 + 1e-6)


def test_other_mistakes_are_told_as_they_are():
    def function(variables, image, key):
        raise TypeError("a mistake of the user's")

    with pytest.raises(UsageError, match="of the user's") as told:
        craft(ASCENT, planted.classifier(function), KEY, IMAGES, LABELS)
    assert isinstance(told.value.__cause__, TypeError)  # where it happened is kept


@pytest.mark.parametrize(
    "name, why", [("outside", ""), ("tied", ""), ("no_gradient", "while_loop")]
)
def test_the_obstacle_is_found_without_running_the_network(name, why):
    model = planted.classifier(getattr(planted, name))
    found = obstacle((planted.classifier(planted.sound), model), IMAGES[0])
    assert why in found and bool(found) == bool(why)


def test_a_suite_without_gradients_gives_a_verdict(tmp_path):
    attacks = {"noise": CONFIG["attacks"]["noise"]}
    content, _ = evaluate(tmp_path, planted.no_gradient, attacks=attacks)
    assert content["verdict"].startswith("not sound: ")
    (line,) = (line for line in content["why"] if line.startswith("R3"))
    assert "while_loop" in line and "attack without gradients" in line


def test_a_suite_with_gradients_refuses(tmp_path):
    with pytest.raises(UsageError, match="needs a gradient and the network has none"):
        evaluate(tmp_path, planted.no_gradient)
