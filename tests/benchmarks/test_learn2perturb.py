"""Tables and figures of Learn2Perturb, of made reports and tiny networks."""

import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.papers.lagrangian.networks import Images
from benchmarks.papers.learn2perturb import figures, networks, tables
from jaxadv.classifier import Classifier
from tests import nets
from tests.benchmarks.test_dual import rows

# Accuracies of a report by attack, each a little lower with each draw.
ACCURACIES = {"fgsm": 0.6, "pgd_eot01": 0.5, "pgd_eot04": 0.45, "pgd_eot16": 0.4,
              "pgd_eot64": 0.35, "pgd_mean": 0.55}  # fmt: skip


def report(suite, seed):
    labels = ACCURACIES
    if suite.endswith(":plain"):
        labels = {"fgsm": 0.7, "pgd": 0.65}
    if suite.endswith(":pixels"):
        labels = {f"pixels_{k}": 0.9 - 0.1 * k for k in (1, 2, 3)}
    attacks = {k: {"accuracy": v + 0.02 * seed} for k, v in labels.items()}
    found = {"clean": {"accuracy": 0.9, "n": 50}, "attacks": attacks}
    if not suite.endswith(":plain"):
        one = {"single": 0.52, "deviation": 0.01}
        found["draws"] = {"attacks": dict.fromkeys(labels, one)}
    return found | {"unions": {"autoattack": {"accuracy": 0.3}}}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs tables or figures; where they would train or judge, the results are made."""

    def trained(method, seeds, runs, data="shapes", flags=()):
        return [tmp_path / f"{method},seed={seed}" for seed in seeds]

    def evaluated(folder, suite, name, flags=()):
        seed = int(folder.name.partition("=")[2])
        found = report(suite, seed)
        where = folder / "eval" / name
        where.mkdir(parents=True, exist_ok=True)
        (where / "report.json").write_text(json.dumps(found))
        return found, None

    for module in (tables, figures):
        monkeypatch.setattr(module, "trained", trained)
    monkeypatch.setattr(tables, "evaluated", evaluated)

    def call(module, *flags):
        own = [str(tmp_path), "--seeds", "0", "1", *flags]
        monkeypatch.setattr(sys, "argv", ["", *own])
        module.main()

    call.folder = tmp_path
    return call


def test_table_of_attacks(run, capsys):
    run(tables, "--table=attacks")
    header, _, *found = rows(capsys.readouterr().out)
    assert header[1:] == [
        "clean", "FGSM, 16", "PGD, 1", "PGD, 16", "AutoAttack rand", "one draw, PGD, 1"
    ]  # fmt: skip
    assert [row[0] for row in found] == list(networks.METHODS.values())
    assert found[0][2:4] == ["71.0 ± 1.4", "66.0 ± 1.4"] and found[0][-1] == "-"
    assert found[3][2:5] == ["61.0 ± 1.4", "51.0 ± 1.4", "41.0 ± 1.4"]
    assert found[3][-1] == "52.0 ± 1.0"


def test_table_of_draws(run, capsys):
    run(tables, "--table=eot", "--methods", "vanilla", "l2p")
    _, _, vanilla, l2p = rows(capsys.readouterr().out)
    assert set(vanilla[1:]) == {"66.0 ± 1.4"}
    assert [cell.split()[0] for cell in l2p[1:]] == "51.0 46.0 41.0 36.0 56.0".split()


def test_table_of_pixels(run, capsys):
    run(tables, "--table=pixels", "--methods", "l2p")
    _, _, l2p = rows(capsys.readouterr().out)
    assert [cell.split()[0] for cell in l2p[1:]] == ["81.0", "71.0", "61.0"]


def test_transfer_judges_the_images_of_each_by_all(run, monkeypatch):
    asked = []
    monkeypatch.setattr(tables, "_run", lambda *command: asked.append(command))
    run(tables, "--table=transfer", "--methods", "vanilla", "l2p")
    plain, noisy, last = asked
    assert "--config.draws=1" in plain and "--config.draws=1" not in noisy
    assert last[0] == "transfer" and len(last) == 4


def test_flags_of_the_network_inside(monkeypatch, tmp_path):
    seen = []

    class Done:
        returncode = 0

    monkeypatch.setattr(
        networks.subprocess, "run", lambda command, **_: seen.append(command) or Done
    )
    flags = ["--config.model.network.width=8"]
    for method in ("vanilla", "l2p"):
        networks.trained(method, [3], tmp_path, flags=flags)
    assert seen[0][-1] == "--config.model.width=8" and seen[1][-1] == flags[0]
    assert f"--workdir={tmp_path / 'l2p,seed=3'}" in seen[1]


def test_figure_of_the_noise(run):
    for seed in (0, 1):
        folder = run.folder / f"l2p,seed={seed}"
        folder.mkdir()
        lines = [
            {"kind": "epoch", "epoch": e, "train_noise": 0.2 + 0.1 * e} for e in (1, 2)
        ]
        lines.insert(0, {"kind": "step", "train_noise": 7.0})
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run(figures, "--figure=noise")
    assert (run.folder / "pictures" / "noise.png").stat().st_size > 5000
    assert figures.evolution(folder) == ([1, 2], pytest.approx([0.3, 0.4]))


def test_figure_of_eps(run, monkeypatch):
    """A linear network with noise on its logits: accuracy falls as eps grows."""
    exact = nets.linear()

    def noisy(variables, image, key):
        return exact(image) + 0.01 * jnp.sin(jnp.sum(image))

    model = Classifier.from_function(noisy, None)
    images, _ = nets.batch(12)
    labels = nets.predicted(exact, images)
    monkeypatch.setattr(
        figures, "load", lambda *_: (model, Images(images, labels, np.arange(12), None))
    )
    run(figures, "--figure=eps", "--methods", "l2p")
    assert (run.folder / "pictures" / "eps.png").stat().st_size > 5000
    pgd, fgsm = figures.over_eps(run.folder, 12)
    assert pgd[0] == fgsm[0] == 1.0 and pgd[-1] < 1.0
    assert all(a >= b for a, b in zip(pgd, pgd[1:], strict=False))
