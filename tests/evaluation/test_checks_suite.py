"""Checks in a whole evaluation: the first lines, every level, and a resume."""

import json

import pytest

from jaxadv import evaluation
from jaxadv.craft import Crafter
from jaxadv.data import sources
from jaxadv.evaluation import report
from jaxadv.evaluation.run import runner
from jaxadv.evaluation.suite import config as configs
from jaxadv.specs import UsageError
from tests import nets, planted
from tests.evaluation.test_evaluation import Quiet, pgd

IMAGES, _ = nets.batch(24)
CRAFTER = Crafter()
CONFIG = {
    "name": "tiny",
    "attacks": {"pgd": pgd(eps=0.03), "noise": {**pgd(), "name": "uniform_noise"}},
    "batch_size": 2,
    "chunk_steps": 2,
    "pictures": 0,
    "overlap": (),
}
del CONFIG["attacks"]["noise"]["rel_step_size"]
CONFIG["attacks"]["noise"]["threat"] = {"name": "linf", "eps": 0.03}


def evaluate(folder, function=planted.sound, **fields):
    model = planted.classifier(function)
    source = sources.from_arrays(
        IMAGES, nets.predicted(model, IMAGES), class_names=tuple("abcd"), name="x"
    )
    lines = []
    content = evaluation.evaluate(
        model, source, {**CONFIG, **fields}, folder, show=lines.append, progress=Quiet
    )
    return content, lines


def verdicts(content):
    return {found["id"]: found["verdict"] for found in content["checks"]}


def test_a_sound_table_says_so_first(tmp_path):
    content, lines = evaluate(tmp_path)
    assert content["verdict"].startswith("sound: ")
    # Few images make a wide interval: the one warning.
    assert [line.split()[0] for line in content["why"]] == ["R15"]
    assert lines[0].splitlines()[0] == content["verdict"]
    assert lines[1].startswith("attack")
    stored = (tmp_path / "report.json").read_text().splitlines()
    assert '"verdict": "sound' in stored[1] and '"why"' in stored[2]
    page = (tmp_path / "report.md").read_text().splitlines()
    assert page[2].startswith("**") and page[2].endswith(", n = 24: sound**")
    assert page[4] == content["verdict"].removeprefix("sound: ") + ":"
    assert page[6].startswith("- [R15](#check-r15) intervals, warn: ")
    assert not content["unreliable"]
    cheap = "R1 R2 R3 R4 R5 R6 R7 R10 R11 R12 R15".split()
    assert list(verdicts(content)) == cheap
    assert verdicts(content)["R4"] == "ok"
    row = "| [R15](#check-r15) | intervals | warn"
    assert any(line.startswith(row) for line in page)


def test_an_unsound_table_says_why_and_that_it_is_unreliable(tmp_path):
    content, lines = evaluate(tmp_path, planted.quantized)
    assert content["verdict"].startswith("not sound: ")
    failed = [line for line in content["why"] if ", fail: " in line]
    assert {"R3", "R5"} <= {line.split()[0] for line in failed}
    assert lines[0].splitlines()[1] == f"- {content['why'][0]}"
    assert content["unreliable"] is True
    assert json.loads((tmp_path / "report.json").read_text())["unreliable"] is True


def test_a_random_network_that_is_attacked_and_judged_in_the_mean_is_sound(tmp_path):
    eot = {"name": "expectation", "samples": 20}
    attacks = {"pgd": pgd(eps=0.03, objective=eot)}
    content, _ = evaluate(tmp_path, planted.key_noise, attacks=attacks, draws=64)
    assert content["verdict"].startswith("sound: ")
    found = verdicts(content)
    assert (found["R1"], found["R7"], found["R11"]) == ("warn", "ok", "ok")


def test_no_scale_of_the_logits_hides_what_breaks_the_bare_network(tmp_path):
    """Where the loss does not depend on it the table is the same; else it is told."""
    dlr = {"name": "likely_target"}
    cases = [
        (planted.tiny, None, "fail"),
        (planted.tiny, dlr, "warn"),
        (planted.saturated, None, "warn"),
    ]
    bare, _ = evaluate(tmp_path / "bare")
    for number, (function, objective, verdict) in enumerate(cases):
        fields = {"attacks": {"pgd": pgd(eps=0.03)}}
        if objective:
            fields["attacks"]["dlr"] = pgd(eps=0.03, objective=objective)
        content, _ = evaluate(tmp_path / str(number), function, **fields)
        found = verdicts(content)
        assert (found["R2"], found["R3"], found["R10"]) == (verdict, "ok", "ok")
        assert content["verdict"].startswith("sound: ") == (verdict == "warn")
        if verdict == "warn":
            union = content["unions"]["union"]["accuracy"]
            assert union <= bare["unions"]["union"]["accuracy"] + 1 / 24


def test_without_checks_nothing_is_claimed(tmp_path):
    content, lines = evaluate(tmp_path, checks="none")
    assert content["verdict"] == lines[0] == "not checked"
    assert content["checks"] == content["why"] == []
    page = (tmp_path / "report.md").read_text()
    assert ": not checked**" in page and "No check was run" in page
    assert "## Checks" not in page and "checks look at" not in page


class _Interrupted(Exception):
    pass


def run(folder, progress=Quiet, **fields):
    model = planted.classifier(planted.sound)
    source = sources.from_arrays(IMAGES, nets.predicted(model, IMAGES), name="x")
    plan = configs.resolve({**CONFIG, **fields})
    return runner.run(model, plan, source, folder, crafter=CRAFTER, progress=progress)


def test_full_checks_run_attacks_again_and_resume(tmp_path):
    fields = {"checks": "full", "black_box": {"name": "uniform_noise", "steps": 2}}
    fields["attacks"] = {"pgd": CONFIG["attacks"]["pgd"]}
    straight = run(tmp_path / "a", **fields)
    found = {finding.id: finding for finding in straight.findings}
    assert {"R4", "R8", "R9", "R17", "R18", "R19"} <= set(found)
    assert found["R8"].verdict == found["R4"].verdict == found["R18"].verdict == "ok"
    assert found["R19"].verdict == "not run"

    class Interrupting(Quiet):
        def __init__(self, label, *counts):
            super().__init__(label, *counts)
            if "seed1" in label:
                raise _Interrupted

    with pytest.raises(_Interrupted):
        run(tmp_path / "b", Interrupting, **fields)
    resumed = run(tmp_path / "b", **fields)
    assert resumed.findings == straight.findings
    assert resumed.timings["checks"].resumed > 0 == straight.timings["checks"].resumed


def test_full_checks_of_a_threat_of_several_budgets(tmp_path):
    balls = {k: {"name": "l2", "eps": 0.2} for k in ("foreground", "background")}
    attack = {**pgd(), "threat": {"name": "masked", **balls}}
    found = run(tmp_path, checks="full", attacks={"dual": attack}).findings
    (curve,) = (f for f in found if f.id == "R8")
    assert "at 0.5, " in curve.evidence and "at 2" in curve.evidence


def test_a_resumed_suite_gives_the_same_verdict(tmp_path):
    first, again = run(tmp_path), run(tmp_path)
    assert again.timings["pgd"].resumed > 0
    assert again.findings == first.findings


def test_another_eps_compiles_no_check_again(tmp_path):
    run(tmp_path / "a")
    found = run(tmp_path / "b", attacks={"pgd": pgd(eps=0.04)})
    assert found.timings["checks"].programs == 0


@pytest.mark.parametrize(
    "change, match",
    [
        ({"checks": "ful"}, "config.checks is 'ful'; allowed: cheap, full, none"),
        ({"black_box": {"name": "nois"}}, "config.black_box: unknown name 'nois'"),
        ({"black_box": "grid"}, "config.black_box: .*has no grid"),
    ],
)
def test_mistakes_in_the_fields_are_told(change, match):
    with pytest.raises(UsageError, match=match):
        configs.resolve({**CONFIG, **change})


def test_the_report_shows_each_objection_in_one_line(tmp_path):
    content, _ = evaluate(tmp_path, planted.saturated)
    assert all("\n" not in line for line in content["why"])
    assert report.verdict(content).count("\n") == len(content["why"])
