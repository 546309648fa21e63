"""Checks of the table alone, and those that run attacks again."""

import dataclasses

import numpy as np
import pytest

from jaxadv.evaluation import metrics
from jaxadv.evaluation.checks import (
    Finding,
    results,
    strength,
)
from jaxadv.evaluation.suite import config as configs
from jaxadv.evaluation.table import Table
from tests.evaluation.test_checks import planned

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


def test_r8_halves_what_counts_pixels_to_a_whole_number():
    threat = {"name": "l0", "eps": 5.0, "pixels": True}
    spec = {"name": "pgd", "threat": threat, "steps": 4, "step_size": 0.1}
    attack = configs.resolve({"attacks": {"pgd": spec}}).attacks[0]
    seen = []

    def survivors(again):
        seen.append((again.eps, again.attack.threat.eps))
        return 60 // len(seen)

    strength.curve(table(), [attack], left(survivors), 10, 64)
    assert seen[:3] == [(2.0, 2.0), (5.0, 5.0), (10.0, 10.0)]
