"""A suite whose network is not there says which one has bounded its attacks."""

import pytest

from jaxadv.evaluation import report
from jaxadv.evaluation.report import judged
from jaxadv.evaluation.suite import settled
from jaxadv.perceptual import NETWORKS
from jaxadv.specs import UsageWarning
from tests import nets
from tests.evaluation.test_report_words import evaluate

SMALL = nets.conv(seed=1)
NETWORK = {"name": "alexnet", "path": None, "otherwise": "small"}
NOISE = {
    "name": "uniform_noise",
    "threat": {"name": "lpips", "eps": 0.4, "network": NETWORK},
    "steps": 1,
}
CONFIG = {
    "name": "tiny",
    "attacks": {
        "outer": NOISE,
        "own": {**NOISE, "threat": {"name": "lpips", "eps": 0.4}},
        "linf": {**NOISE, "threat": {"name": "linf", "eps": 0.3}},
    },
    "notes": {"outer": "one draw"},
    "distances": {"far": {"name": "lpips", "network": NETWORK}, "l2": "l2"},
    "examples": 4,
    "pictures": 0,
}
TOLD = "there are no weights of alexnet: LPIPS is measured in small in its place"


@pytest.fixture
def content(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXADV_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setitem(NETWORKS, "small", lambda: SMALL)
    with pytest.warns(UsageWarning, match=TOLD):
        return evaluate(tmp_path / "out", CONFIG)


def test_the_report_names_the_network(content):
    row = content["attacks"]["outer"]
    assert row["spec"]["threat"]["network"] == {"name": "small"}
    assert row["note"] == f"one draw; {TOLD}, another ball than the suite's own"
    assert not content["attacks"]["own"]["note"]
    assert f"outer: {row['note']}" in report.notes(content)
    assert content["lpips_distances"]["far"]["network"] == {"name": "small"}
    (line,) = [x for x in judged.lines(content) if x.startswith("- **LPIPS:** ")]
    networks = "in `small` (`outer`, `far`); in the attacked network (`own`)"
    assert line == f"- **LPIPS:** {networks}"


def test_a_path_is_told_with_the_network():
    network = {"name": "run", "path": "runs/a"}
    threat = {"name": "lpips", "network": network}
    content = {"attacks": {"a": {"spec": {"threat": {"parts": [threat]}}}}}
    assert list(judged._networks(content)) == ["in `run` of `runs/a` (`a`)"]


def test_notes_are_joined():
    assert settled.noted({"a": "x", "b": "y"}, {"b": "z", "c": "w"}) == {
        "a": "x", "b": "y; z", "c": "w",
    }  # fmt: skip
