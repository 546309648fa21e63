"""Checks: each planted defense is flagged by its own, sound networks by none."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.classifier import Classifier
from jaxadv.evaluation.checks import (
    Finding,
    Probe,
    forward,
    gradients,
    noise,
    objections,
    program,
    scale,
    summary,
)
from jaxadv.evaluation.judging.judge import Judge
from jaxadv.evaluation.suite import config as configs
from jaxadv.models import MODELS
from jaxadv.objectives import expected_logits
from jaxadv.threats import L2, Linf
from tests import nets, planted
from tests.evaluation.test_checks_program import SOUND, probe

IMAGES, _ = nets.batch(8)


@dataclasses.dataclass
class Sample:
    adversarials: np.ndarray
    labels: np.ndarray
    success: np.ndarray
    feasible: np.ndarray | bool = True

    def __post_init__(self):
        self.feasible = self.feasible & np.ones(len(self.labels), bool)


def planned(label, name="pgd", threat=("linf", 0.05), **fields):
    kind, eps = threat
    spec = {"name": name, "threat": {"name": kind, "eps": eps}, **fields}
    if name == "pgd":
        spec = {"steps": 4, "rel_step_size": 0.4, **spec}
    return configs.resolve({"attacks": {label: spec}}).attacks[0]


def _louder(variables, image, key):
    return variables["factor"] * variables["model"](image, key)


def apart(model, images):
    """`model` with logits as far apart as training drives them."""
    logits = np.asarray(jax.vmap(model)(images))
    factor = np.float32(10 / np.median(np.ptp(logits, axis=1)))
    return Classifier.from_function(_louder, {"model": model, "factor": factor})


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_network_raises_nothing(name):
    shape, fields = SOUND[name]
    module = MODELS[name](num_classes=nets.CLASSES, **fields)
    variables = dict(module.init(jax.random.key(0), jnp.zeros((1, *shape))))
    model = Classifier.from_linen(module, variables, mean=0.4, std=0.3)
    images, _ = nets.batch(8, shape)
    model = apart(model, images)
    labels = nets.predicted(model, images)
    looked = Probe(model, images, labels)
    saved = Sample(images, labels, np.zeros(8, bool))
    found = [
        forward.randomized(looked),
        scale.outputs(looked),
        forward.verification(looked, {"none": saved}),
        gradients.zero(looked),
        gradients.never_rose(looked, Linf(0.03)),
        program.program(looked),
    ]
    assert [f.verdict for f in found] == ["ok"] * len(found), [f.line for f in found]


def judged(draws, count=16, name="key_noise"):
    """A probe of a random network with that many draws, and the table's margins."""
    images, _ = nets.batch(count)
    model = planted.classifier(getattr(planted, name))
    logits = jax.vmap(lambda x: expected_logits(model, x, jax.random.key(9), 200))
    labels = np.asarray(jnp.argmax(logits(images), -1), np.int32)
    rows = images, labels, np.arange(count)
    margins = Judge(model, 8, draws).verdict(jax.random.key(3), *rows)["margin"]
    return Probe(model, images, labels, 12, draws), margins


def test_r1_random_networks_need_an_expectation():
    assert forward.randomized(probe("sound")).verdict == "ok"
    once, mean = (judged(draws)[0] for draws in (1, 20))
    found = forward.randomized(once)
    assert found.verdict == "fail" and "expectation over 20" in found.remedy
    assert "config.draws=20" in found.remedy
    assert forward.randomized(mean, samples=20).verdict == "warn"


@pytest.mark.parametrize(
    "samples, draws, asked, done",
    [(20, 1, "config.draws=20", "expectation"), (1, 20, "expectation", "draws=")],
)
def test_r1_asks_for_what_has_not_been_done(samples, draws, asked, done):
    found = forward.randomized(judged(draws)[0], samples)
    assert found.verdict == "fail"
    assert asked in found.remedy and done not in found.remedy


def test_r1_randomness_beside_the_key_is_told():
    state = np.random.default_rng(0)

    def function(variables, image, key):
        like = jax.ShapeDtypeStruct((), jnp.float32)
        draw = jax.pure_callback(
            lambda: np.float32(state.normal()), like, vmap_method="sequential"
        )
        return planted.sound(variables, image, key) + draw * jnp.arange(4.0)

    model = planted.classifier(function)
    found = forward.randomized(Probe(model, IMAGES[:2], np.zeros(2, int), 2))
    assert found.verdict == "fail" and "the key does not decide it" in found.evidence


def test_r2_probabilities():
    found = scale.outputs(probe("probabilities"))
    assert found.verdict == "fail" and "softmax" in found.remedy
    assert scale.outputs(probe("sound")).verdict == "ok"


MARGIN, MEAN = {"name": "margin"}, {"name": "expectation", "samples": 2}


@pytest.mark.parametrize(
    "name, objectives, verdict, words",
    [
        ("tiny", [{"name": "cross_entropy"}], "fail", "linear"),
        ("tiny", [{"name": "kl"}], "fail", "linear"),
        ("tiny", [{"name": "random_target"}], "fail", "linear"),
        ("tiny", [{"name": "cross_entropy"}, MARGIN], "warn", "linear"),
        ("tiny", [], "warn", "linear"),
        ("saturated", [{"name": "cross_entropy"}], "warn", "rounds to 1"),
        ("saturated", [MEAN], "fail", "rounds to 1"),
        ("saturated", [{"name": "kl"}], "fail", "rounds to 1"),
        ("saturated", [MEAN, {"name": "dlr"}], "warn", "rounds to 1"),
    ],
)
def test_r2_a_scale_at_which_losses_do_not_see(name, objectives, verdict, words):
    labels = "ab"[: len(objectives)]
    attacks = [
        planned(label, objective=objective)
        for label, objective in zip(labels, objectives, strict=True)
    ]
    found = scale.outputs(probe(name), attacks)
    assert found.verdict == verdict and words in found.evidence
    assert ("climbed by a" in found.evidence) == (verdict == "fail")


def test_r2_asks_for_each_threat():
    """A scale-free loss in one ball says nothing of another ball."""
    attacks = [planned("a"), planned("b", threat=("l2", 0.5), objective=MARGIN)]
    found = scale.outputs(probe("tiny"), attacks)
    assert found.verdict == "fail" and found.evidence.endswith("climbed by a")
    assert scale.outputs(probe("tiny"), attacks, count=0).verdict == "warn"
    noise = [planned("n", "uniform_noise")]
    assert scale.outputs(probe("tiny"), [*noise, attacks[1]]).verdict == "warn"


def test_r3_huge_logits_leave_the_cross_entropy_its_gradient():
    looked = probe("saturated")
    assert gradients.zero(looked, ["cross_entropy"]).verdict == "ok"
    assert gradients.zero(looked, count=0).verdict == "not run"


@dataclasses.dataclass
class FlatDlr:
    """What `zero` asks of a probe; the DLR has no gradient at three of four images."""

    obstacle: str = ""

    def gradient(self, loss):
        flat = (np.arange(4) < 3) & (loss == "dlr")
        return np.zeros(4), np.where(flat, 0.0, 1.0)[:, None]


def test_r3_a_loss_without_gradient_beside_others():
    found = gradients.zero(FlatDlr(), ["dlr"])
    assert found.verdict == "fail" and "cross_entropy or margin" in found.remedy
    assert "cross_entropy 0, margin 0, dlr 3; the attacks are blind at 3" in found.line
    assert gradients.zero(FlatDlr(), ["dlr", "margin"]).verdict == "warn"


def test_r3_quantized_images_leave_no_loss_a_gradient():
    found = gradients.zero(probe("quantized"))
    assert found.verdict == "fail" and found.remedy == "attack without gradients"
    assert "cross_entropy 8, margin 8, dlr 8" in found.evidence


def test_r3_a_network_that_cannot_be_differentiated():
    found = gradients.zero(probe("no_gradient"))
    assert found.verdict == "fail" and "while_loop" in found.evidence


def test_r3_the_losses_of_a_suite():
    eot = {"name": "expectation", "objective": {"name": "dlr"}, "samples": 7}
    attacks = [
        planned("a", objective={"name": "margin"}),
        planned("b", objective=eot),
        planned("c", "uniform_noise"),
    ]
    assert gradients.climbed(attacks) == (("margin", "dlr"), 1)
    assert gradients.climbed(attacks[1:]) == (("dlr",), 7)
    assert gradients.climbed(attacks[2:]) == (gradients.LOSSES, 1)


@pytest.mark.parametrize(
    "objective, loss",
    [
        ({"name": "likely_target"}, "dlr"),
        ({"name": "likely_target", "loss": "margin"}, "margin"),
        # Not flat where the label is sure, as the untargeted one is.
        ({"name": "random_target"}, "margin"),
        ({"name": "targeted_cross_entropy", "target": 1}, "margin"),
        ({"name": "targeted_dlr", "target": 1}, "dlr"),
    ],
)
def test_r3_the_losses_of_targeted_attacks(objective, loss):
    assert gradients.climbed([planned("a", objective=objective)]) == ((loss,), 1)


@pytest.mark.parametrize(
    "classes, named, fields, verdict, words",
    [
        (10, 10, {}, "ok", "10 classes"),
        (1000, 10, {}, "warn", "1000 logits for 10 classes"),
        (1, None, {}, "fail", "1 logit"),
        (2, None, {"name": "dlr"}, "warn", "DLR needs 3"),
        (3, 3, {"name": "targeted_dlr", "target": 1}, "warn", "TargetedDLR needs 4"),
        (4, 4, {"name": "targeted_margin", "target": 4}, "fail", "target 4"),
    ],
)
def test_r6_class_count(classes, named, fields, verdict, words):
    extra = {"objective": fields} if fields else {}
    attack = planned("a", **extra).attack
    found = forward.class_count(classes, named, {"a": attack})
    assert found.verdict == verdict and words in found.evidence


def test_r7_outputs_that_depend_on_the_batch():
    model = planted.classifier(planted.batch_dependent)
    images, _ = nets.batch(20)
    labels = nets.predicted(model, images)  # in a batch of 20
    saved = {"a": Sample(images, labels, np.zeros(20, bool))}
    found = forward.verification(Probe(model, images, labels), saved)
    assert found.verdict == "fail" and "evaluation mode" in found.remedy
    sound = probe("sound", images)
    saved = {"a": Sample(images, sound.labels, np.zeros(20, bool))}
    assert forward.verification(sound, saved).verdict == "ok"


def test_r7_what_left_its_budget_is_not_compared():
    looked = probe("sound")
    wrong = (looked.labels + 1) % nets.CLASSES
    saved = Sample(IMAGES, wrong, np.arange(8) < 4, np.arange(8) < 4)
    found = forward.verification(looked, {"a": saved})
    assert found.verdict == "ok" and "4 of 4 broken ones hold" in found.evidence
    saved.feasible[4] = True
    found = forward.verification(looked, {"a": saved})
    assert found.verdict == "fail" and ": 1 changed sides" in found.evidence
    saved.feasible[:] = False
    assert forward.verification(looked, {"a": saved}).verdict == "not run"


def test_r7_and_r11_judge_a_random_network_by_its_mean_prediction():
    looked, margins = judged(100)
    saved = Sample(looked.images, looked.labels, margins >= 0)
    found = forward.verification(looked, {"a": saved})
    assert found.verdict == "ok" and "left open by 100 draws" in found.evidence
    saved.success = margins < 0
    assert forward.verification(looked, {"a": saved}).verdict == "fail"
    rows = looked.images[margins < 0], looked.labels[margins < 0]
    assert noise.noise(looked, [(Linf(1e-3), *rows)], 4).verdict == "ok"
    assert noise.noise(looked, [(Linf(0.9), *rows)], 4).verdict == "fail"


def test_r7_and_r11_do_not_judge_a_random_network_by_one_draw():
    looked, margins = judged(1)
    saved = {"a": Sample(looked.images, looked.labels, margins >= 0)}
    cases = [(Linf(0.03), looked.images, looked.labels)]
    found = [forward.verification(looked, saved), noise.noise(looked, cases, 2)]
    assert [f.verdict for f in found] == ["not run"] * 2
    assert all("the network is random" in f.evidence for f in found)


def test_r7_broken_images_that_rounding_repairs():
    model = nets.linear()
    labels = nets.predicted(model, IMAGES)
    w, b = (np.asarray(model.variables[k], np.float64) for k in "wb")
    logits = IMAGES.reshape(8, -1) @ w.T + b
    second = np.argsort(logits, axis=1)[:, -2]
    rows = np.arange(8)
    away = w[second] - w[labels]
    gap = (logits[rows, labels] - logits[rows, second]) / np.sum(away**2, axis=1)
    # One hundredth beyond the boundary: less than 8 bits can tell.
    just = np.float32(IMAGES.reshape(8, -1) + 1.01 * gap[:, None] * away)
    images = just.reshape(IMAGES.shape)
    saved = {"a": Sample(images, labels, np.ones(8, bool))}
    found = forward.verification(Probe(model, images, labels), saved)
    assert "0 changed sides" in found.evidence
    outside = np.any((just < 0) | (just > 1))
    assert found.verdict == ("fail" if outside else "warn")


def test_r10_a_short_attack_on_flat_and_on_sound_networks():
    sound = gradients.never_rose(probe("sound"), Linf(0.03))
    assert sound.verdict == "ok" and "at 0 of 8" in sound.evidence
    flat = gradients.never_rose(probe("stopped"), L2(0.5))
    assert flat.verdict == "fail" and "l2 eps 0.5" in flat.evidence
    assert gradients.never_rose(probe("no_gradient"), L2(0.5)).verdict == "not run"


def test_r10_an_image_is_stuck_where_no_loss_of_the_suite_rises():
    looked, ball = probe("twins"), Linf(0.03)
    alone = gradients.never_rose(looked, ball, ["dlr"])
    assert alone.verdict == "fail"
    both = gradients.never_rose(looked, ball, ["dlr", "margin"])
    assert both.verdict == "ok" and "at 0 of 8" in both.evidence
    assert "dlr 8 (median rise 0), margin 0" in both.evidence


def test_r11_noise_that_breaks_survivors():
    looked = probe("sound")
    cases = [(Linf(0.5), IMAGES, looked.labels)]
    found = noise.noise(looked, cases, 8)
    assert found.verdict == "fail" and "of 8 survivors" in found.evidence
    cases = [(Linf(1e-5), IMAGES, looked.labels), (L2(0.1), IMAGES[:0], [])]
    assert noise.noise(looked, cases, 2).verdict == "ok"
    assert noise.noise(looked, cases[1:], 2).verdict == "not run"


def test_the_summary_names_what_failed():
    ok, warn = Finding("R1", "a", "ok", "x"), Finding("R2", "b", "warn", "y", "do z")
    fail, idle = Finding("R3", "c", "fail", "y"), Finding("R4", "d", "not run", "y")
    assert summary([ok, idle]) == "sound: 1 check passed"
    assert summary([ok, warn]) == "sound: 2 checks passed, 1 warning"
    assert summary([ok, warn, fail]) == "not sound: 1 of 3 checks failed, 1 warning"
    assert summary([idle]) == summary([]) == "not checked"
    assert objections([warn, ok, fail, idle]) == [fail, warn]
    assert warn.line == "R2 b, warn: y; do z"
