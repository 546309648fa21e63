"""eval.py's suites in the network of a package, where their own is not there."""

import pytest

from jaxadv.evaluation import command
from jaxadv.specs import UsageWarning
from tests.commands.test_eval_cli import call
from tests.commands.test_eval_cli import folder as folder
from tests.paths import ROOT

ARCH = "stlpips_alexnet"


@pytest.fixture
def asked(tmp_path, monkeypatch, packaged):
    """The suites that would be run, where ARCH alone has weights, small ones."""
    monkeypatch.chdir(tmp_path)  # where there are no runs
    found = []
    monkeypatch.setattr(command, "evaluate", lambda *args: found.append(args[0]))
    return found


def suite_of(name):
    return f"--config={ROOT / 'configs' / 'suites' / name}.py"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("narrow_imagenet100", "ppgd"),
        ("unseen_imagenet100", "lpa"),
    ],
)
def test_it_stands_in_for_a_network_that_no_one_gave(
    name, label, folder, asked, capsys
):
    with pytest.warns(UsageWarning, match=f"LPIPS is measured in {ARCH} in its place"):
        assert call(folder, suite_of(name)) == 0
    (suite,) = asked
    planned = {p.label: p for p in suite.attacks}[label]
    assert planned.spec["threat"]["network"] == {"name": ARCH}
    assert planned.attack.threat.network.apply.module.width == 2
    assert f"{ARCH} in its place" in suite.notes[label]
    # A path that is given is the one that is meant.
    flag = f"--config.attacks.{label}.threat.network.path=nowhere"
    assert call(folder, suite_of(name), flag) == 2
    assert "nowhere" in capsys.readouterr().err and len(asked) == 1


@pytest.mark.parametrize("name", ["unseen_shapes", "perceptual"])
def test_suites_of_shapes_have_a_ball_of_their_own_in_it(name, folder, asked, capsys):
    """An eps that is meant for another network is not taken over."""
    assert call(folder, suite_of(name)) == 2
    error = capsys.readouterr().err
    assert "runs/shapes_alexnet" in error and f"'name': '{ARCH}'" in error
    assert call(folder, f"{suite_of(name)}:stlpips") == 0
    (suite,) = asked
    planned = {p.label: p for p in suite.attacks}["lpa"]
    assert planned.attack.threat.network.apply.module.width == 2
    assert planned.eps == 0.07 and suite.name == f"{name}_stlpips"


@pytest.mark.parametrize("name", ["narrow_cifar", "unseen_cifar", "perceptual"])
def test_it_is_named_by_a_flag(name, folder, asked):
    flag = f"--config.attacks.lpa.threat.network.name={ARCH}"
    assert call(folder, suite_of(name), flag) == 0
    planned = {p.label: p for p in asked[0].attacks}["lpa"]
    network = planned.spec["threat"]["network"]
    assert network == {"name": ARCH, "path": None, "otherwise": None}
    assert "lpa" not in asked[0].notes


@pytest.mark.parametrize("name", ["narrow_cifar", "unseen_cifar"])
def test_the_network_of_a_paper_is_not_replaced(name, folder, asked, capsys):
    assert call(folder, suite_of(name)) == 2
    error = capsys.readouterr().err
    assert "no weights of cifar_alexnet" in error and f"'name': '{ARCH}'" in error
    assert not asked
