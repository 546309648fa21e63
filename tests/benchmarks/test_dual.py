"""Tables and figures of dual perturbations, on tiny networks."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.papers.dual import figures, measures, networks, tables
from benchmarks.papers.lagrangian.networks import Images
from jaxadv.perceptual.saliency import Saliency
from jaxadv.threats import Masked
from tests import nets
from tests.paths import ROOT

COUNT = 12
MODELS = {name: nets.linear(seed=i) for i, name in enumerate(networks.TRAININGS)}


class Bright:
    def apply(self, scale, images):
        return scale * images[..., 0]


LOOKS = Saliency(jnp.float32(3.0), Bright())


def data(model, count):
    images, _ = nets.batch(COUNT)
    mask = np.zeros((COUNT, *images.shape[1:3], 1), np.uint8)
    mask[:, 1:3, 1:3] = 1
    labels = nets.predicted(model, images)
    return Images(images[:count], labels[:count], np.arange(count), mask[:count])


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs tables or figures; where they would train, tiny networks are there."""
    asked = []

    def trained(name, norm, seeds, runs, flags=()):
        asked.append((name, norm, tuple(flags)))
        return [f"{name},seed={seed}" for seed in seeds]

    def load(folder, examples):
        model = MODELS[folder.split(",")[0]]
        return model, data(model, examples)

    for module in (tables, figures):
        monkeypatch.setattr(module, "load", load)
        monkeypatch.setattr(module, "looks", lambda runs: LOOKS)
    monkeypatch.setattr(tables, "trained", trained)

    def call(module, *flags):
        sizes = [f"--examples={COUNT}", "--batch=4", "--steps=4", "--seeds", "0", "1"]
        monkeypatch.setattr(sys, "argv", ["", str(tmp_path), *sizes, *flags])
        module.main()
        return asked

    call.folder = tmp_path
    return call


def rows(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_dual_is_at_least_as_strong_as_pgd(run, capsys, norm):
    asked = run(tables, "--table=attacks", f"--norm={norm}")
    _, _, *found = rows(capsys.readouterr().out)
    assert [row[0] for row in found] == ["clean", "AT-PGD", "AT-Dual"]
    for _, clean, pgd, dual in found:
        clean, pgd, dual = (float(cell.split()[0]) for cell in (clean, pgd, dual))
        assert clean == 100 and dual <= pgd <= clean
    assert {one[1] for one in asked} == {norm}


@pytest.mark.parametrize("name", ["eps_f", "eps_b"])
def test_accuracy_falls_with_a_budget(run, capsys, name):
    run(tables, f"--table={name}", "--train", "--config.model.width=8")
    _, _, *found = rows(capsys.readouterr().out)
    for _, *cells in found:
        values = [float(cell.split()[0]) for cell in cells]
        assert all(b <= a + 9 for a, b in zip(values, values[1:], strict=False))
        assert values[-1] < values[0] or values[0] == 0


def test_looks_stay_on_the_foreground_as_lambda_grows(run, capsys):
    run(tables, "--table=lam")
    _, _, *found = rows(capsys.readouterr().out)
    assert len(found) == 3 * len(tables.WEIGHTS)
    scores = [float(row[3].split()[0]) for row in found]
    for first in range(0, len(scores), len(tables.WEIGHTS)):
        assert scores[first + len(tables.WEIGHTS) - 1] > scores[first]


def test_answers_add_up(run, capsys):
    run(tables, "--table=smoothing", "--draws=20", "--samples=2", "--sigma=0.3")
    _, _, *found = rows(capsys.readouterr().out)
    assert [row[:2] for row in found[:2]] == [
        ["noise 0.12", "clean"], ["noise 0.12", "dual"]
    ]  # fmt: skip
    for row in found:
        total = sum(float(cell.split()[0]) for cell in row[2:])
        assert total == pytest.approx(100, abs=0.2)
    assert float(found[1][2].split()[0]) <= float(found[0][2].split()[0])


@pytest.mark.parametrize("name, count", [("gradients", 1), ("examples", 3)])
def test_pictures_are_drawn(run, name, count):
    run(figures, f"--figure={name}", "--seeds", "0")
    found = list((run.folder / "pictures").glob("*.png"))
    assert len(found) == count and all(p.stat().st_size > 5000 for p in found)


@pytest.mark.parametrize("name", networks.TRAININGS)
def test_trainings_are_commands_that_are_understood(name, monkeypatch, tmp_path):
    from jaxadv import cli
    from jaxadv.training import settings

    monkeypatch.chdir(ROOT)
    commands = []
    monkeypatch.setattr(networks, "_run", lambda *command: commands.append(command))
    (folder,) = networks.trained(name, "linf", [3], tmp_path, ["--config.epochs=9"])
    (command,) = commands
    flags = [flag for flag in command[1:] if "workdir" not in flag]
    config = cli.resolve(flags, settings.KINDS)
    assert settings.plan(config) and (config.seed, config.epochs) == (3, 9)
    assert f"--workdir={folder}" in command and folder.name.endswith("seed=3")
    if name == "at_dual":
        assert isinstance(settings.plan(config).defense.attacks[0].threat, Masked)
    if name == "at_pgd":
        eps = measures.BALLS["linf"](networks.budgets("linf")[0]).eps
        assert config.attack.threat.eps == pytest.approx(eps)
