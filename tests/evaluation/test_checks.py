"""Checks: each planted defense is flagged by its own, sound networks by none."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.classifier import Classifier
from jaxadv.evaluation import metrics
from jaxadv.evaluation.checks import (
    Finding,
    Probe,
    forward,
    gradients,
    noise,
    objections,
    program,
    results,
    scale,
    strength,
    summary,
)
from jaxadv.evaluation.judging.judge import Judge
from jaxadv.evaluation.suite import config as configs
from jaxadv.evaluation.table import Table
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


ATTACKS = (
    planned("pgd"),
    planned("noise", "uniform_noise"),
    planned("fgsm", "fgsm"),
    planned("other", "uniform_noise", ("linf", 0.1)),
    planned("turn", "grid", ("rotation_translation", 0.1), points=(2, 2, 2)),
)


def table(n=100, distances=None, **broken):
    """A table of n correct images; label -> the images that it breaks."""
    columns = {"id": np.arange(n), "clean/margin": np.full(n, -1.0)}
    attacks = broken or {"pgd": 40}
    for label, hit in attacks.items():
        hit = range(hit) if isinstance(hit, int) else hit
        columns[f"attack/{label}/success"] = np.isin(np.arange(n), list(hit))
        columns[f"attack/{label}/feasible"] = np.ones(n, bool)
        columns[f"attack/{label}/distance/outer"] = np.full(n, 0.7)
    metadata = {"attacks": dict.fromkeys(attacks), "distances": distances or {}}
    return Table(columns, metadata)


@pytest.mark.parametrize(
    "noise, verdict", [((), "ok"), ((39, 40), "warn"), ((1, 50, 51), "fail")]
)
def test_r4_noise_that_breaks_what_gradients_do_not(noise, verdict):
    found = results.black_box(table(pgd=40, noise=noise), ATTACKS[:2])
    assert found.verdict == verdict, found.line


def test_r4_compares_equal_budgets_alone():
    found = results.black_box(table(pgd=4, other=80), (ATTACKS[0], ATTACKS[3]))
    assert found.verdict == "not run"
    more = [(ATTACKS[1], np.arange(100) < 50)]
    assert results.black_box(table(pgd=40), ATTACKS[:1], more).verdict == "fail"


def test_r12_one_step_that_beats_many():
    attacks = (ATTACKS[0], ATTACKS[2])
    found = results.who_broke_what(table(pgd=40, fgsm=range(38, 50)), attacks)
    assert found.verdict == "fail" and "pgd 38, fgsm 10" in found.evidence
    found = results.who_broke_what(table(pgd=40, fgsm=30), attacks)
    assert found.verdict == "ok" and "pgd 10, fgsm 0" in found.evidence


def test_r12_counts_in_a_cascade_what_those_before_have_left():
    """`b` takes over all that `a` has broken; by itself it adds ten."""
    attacks = (planned("a"), planned("b"), planned("c"))
    found = table(a=10, b=25, c=range(20, 30))
    assert "a 0, b 10, c 5" in results.who_broke_what(found, attacks).evidence
    cascades = {"cascades": {"x": ["a", "b"]}}
    found = dataclasses.replace(found, metadata={**found.metadata, **cascades})
    assert "a 10, b 10, c 5" in results.who_broke_what(found, attacks).evidence


def test_r15_few_images_make_a_wide_interval():
    few, many = results.intervals(table(50)), results.intervals(table(500))
    assert (few.verdict, many.verdict) == ("warn", "ok")
    low, high = metrics.wilson(460, 500)
    assert f"between {100 * low:.1f} and {100 * high:.1f}" in many.evidence


def test_r18_follows_from_the_others():
    fine = [Finding(i, "", "ok", "") for i in ("R1", "R3", "R5")]
    assert results.admissible(fine).verdict == "ok"
    bad = [*fine[:2], Finding("R5", "", "fail", "")]
    found = results.admissible(bad)
    assert found.verdict == "warn" and "because of R5" in found.evidence


@pytest.mark.parametrize("r3, verdict", [("warn", "ok"), ("fail", "warn")])
def test_r18_a_loss_that_other_attacks_do_without_counts_not(r3, verdict):
    found = [Finding("R1", "", "ok", ""), Finding("R3", "", r3, "")]
    assert results.admissible(found).verdict == verdict


def test_r19_asks_for_an_external_distance():
    lpa = planned("lpa", "lpa", ("lpips", 0.5))
    assert results.external_distance(table(pgd=4), ATTACKS[:1]).verdict == "not run"
    assert results.external_distance(table(lpa=4), (lpa,)).verdict == "warn"
    outer = {"outer": {"name": "lpips", "network": {"name": "alexnet"}}}
    found = results.external_distance(table(lpa=4, distances=outer), (lpa,))
    assert found.verdict == "ok" and "outer 0.7; 100 % feasible" in found.evidence


def left(survivors):
    """A rerun after which `survivors(planned)` of the images are left."""

    def rerun(again, chosen):
        rows = np.flatnonzero(chosen)
        success = np.zeros(len(chosen), bool)
        success[rows[survivors(again) :]] = True
        return success

    return rerun


@pytest.mark.parametrize(
    "accuracies, verdict, words",
    [
        ((90, 60, 30, 0), "ok", "90 % at 0.025, 60 % at 0.05, 30 % at 0.1, 0 % at 0.5"),
        ((90, 60, 70, 0), "fail", "rises with eps"),
        ((90, 60, 55, 50), "fail", "stays above chance"),
    ],
)
def test_r8_accuracy_falls_to_chance(accuracies, verdict, words):
    asked = []

    def survivors(again):
        asked.append(float(again.attack.threat.eps))
        return accuracies[len(asked) - 1]

    found = strength.curve(table(), ATTACKS[:2], left(survivors), 10, 64)
    assert found.verdict == verdict and words in found.evidence
    assert asked == pytest.approx([0.025, 0.05, 0.1, 0.5])


BALLS = {
    "foreground": {"name": "l2", "eps": 0.1},
    "background": {"name": "linf", "eps": 0.4},
}


@pytest.mark.parametrize(
    "threat, budgets",
    [
        ({"name": "masked", **BALLS}, lambda t: (t.foreground.eps, t.background.eps)),
        ({"name": "shared", "threat": BALLS["foreground"]}, lambda t: t.threat.eps),
        ({"name": "composed", "parts": [*BALLS.values()]}, lambda t: t.budget),
    ],
)
def test_r8_scales_the_budgets_of_threats_inside_threats(threat, budgets):
    spec = {"name": "pgd", "threat": threat, "steps": 4, "step_size": 0.1}
    attack = configs.resolve({"attacks": {"pgd": spec}}).attacks[0]
    seen = []

    def survivors(again):
        seen.append((again.attack.step_size, budgets(again.attack.threat)))
        return 60 // len(seen)

    found = strength.curve(table(), [attack], left(survivors), 10, 64)
    assert found.verdict == "ok" and len(seen) == 3
    whole = np.asarray(budgets(attack.attack.threat))
    for factor, (step, own) in zip((0.5, 1, 2), seen, strict=True):
        assert step == pytest.approx(0.1 * factor)
        np.testing.assert_allclose(own, factor * whole, rtol=1e-6)


@pytest.mark.parametrize("more, verdict", [(0, "ok"), (1, "ok"), (5, "fail")])
def test_r9_doubled_steps(more, verdict):
    seen = []

    def survivors(again):
        seen.append((again.label, again.attack.steps, again.attack.restarts))
        return 60 - more

    found = strength.converged(table(pgd=40), ATTACKS[:3], left(survivors))
    assert found.verdict == verdict and f"pgd -{more:.1f}" in found.evidence
    assert seen == [("pgd-longer", 8, 5)]  # neither noise nor a single step


def test_r17_seeds_that_disagree():
    numbers = iter((50, 51, 56, 50, 51, 50))
    rerun = left(lambda again: next(numbers))
    assert strength.seeds(table(), ATTACKS[:1], rerun).verdict == "warn"
    assert strength.seeds(table(), ATTACKS[:1], rerun).verdict == "ok"


def test_challenges_attack_the_survivors_of_balls_without_a_black_box():
    asked = []

    def rerun(again, chosen):
        asked.append((again.label, again.attack.threat.eps, int(np.sum(chosen))))
        return np.ones(100, bool)

    spec = {"name": "uniform_noise", "steps": 3}
    found = table(pgd=40, turn=1)
    ((made, success),) = strength.challenges(found, (ATTACKS[0],), rerun, spec)
    assert asked == [("pgd-uniform_noise", 0.05, 60)]
    assert made.attack.steps == 3 and success.sum() == 60
    assert strength.challenges(found, ATTACKS[:2], rerun, spec) == []


def test_the_summary_names_what_failed():
    ok, warn = Finding("R1", "a", "ok", "x"), Finding("R2", "b", "warn", "y", "do z")
    fail, idle = Finding("R3", "c", "fail", "y"), Finding("R4", "d", "not run", "y")
    assert summary([ok, idle]) == "sound: 1 check passed"
    assert summary([ok, warn]) == "sound: 2 checks passed, 1 warning"
    assert summary([ok, warn, fail]) == "not sound: 1 of 3 checks failed, 1 warning"
    assert summary([idle]) == summary([]) == "not checked"
    assert objections([warn, ok, fail, idle]) == [fail, warn]
    assert warn.line == "R2 b, warn: y; do z"
