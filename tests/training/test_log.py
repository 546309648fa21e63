"""Metrics, progress and the pace of a run."""

import json
import types

import pytest

from jaxadv.training import log


def test_resumed_metrics_have_no_duplicates(tmp_path):
    writer = log.Writer(tmp_path)
    for step in (1, 2, 3):
        writer.write(step, "train", {"loss": 1.0 / step})
    writer.close()
    with open(tmp_path / log.FILE, "a") as file:
        file.write('{"step": 4, "ki')  # killed while writing
    writer = log.Writer(tmp_path, resumed=2)
    writer.write(3, "train", {"loss": 0.25})
    writer.close()
    rows = [json.loads(r) for r in (tmp_path / log.FILE).read_text().splitlines()]
    assert [(r["step"], r["loss"]) for r in rows] == [(1, 1.0), (2, 0.5), (3, 0.25)]


def test_progress_says_when_it_compiles(capsys, lowered):
    progress = log.Progress(total=100, done=10, images=32)
    lowered(2.0)
    lowered(2.0)
    progress.advance()
    lowered(0.01)  # a small program
    lowered(2.0)
    progress.close()
    lowered(2.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["step 10/100  compiling …", "step 11/100  compiling …"]


def test_progress_says_what_it_compiles_before_it_does(capsys, lowered):
    progress = log.Progress(total=100, done=10, images=32)
    for line in ("compiling the training step …\n", ""):
        with progress.making("the training step"):
            assert capsys.readouterr().out == line
            if line:
                lowered(2.0)  # it has been said
        progress.advance()
        assert capsys.readouterr().out == ""
    with pytest.raises(ZeroDivisionError), progress.making("the validation"):
        1 / 0  # noqa: B018
    lowered(2.0)
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["compiling the validation …", "step 12/100  compiling …"]


def test_a_bar_says_that_something_is_compiled(monkeypatch):
    told = []
    monkeypatch.setattr(log.sys, "stderr", types.SimpleNamespace(isatty=lambda: True))
    bar = types.SimpleNamespace(set_description_str=told.append, close=lambda: None)
    monkeypatch.setattr(log, "tqdm", lambda **_: bar)
    monkeypatch.setattr(log.Progress, "say", lambda self, line: told.append(line))
    progress = log.Progress(total=100, done=10, images=32)
    with progress.making("the training step"):
        assert told == ["compiling the training step …", "compiling …"]
    progress.close()
    assert told[2:] == [""]


def test_progress_leaves_compilation_out_of_the_pace(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    progress = log.Progress(total=100, done=10, images=32, enabled=False)
    for seconds in (60.0, 2.0, 2.0):  # the first one compiles
        now[0] += seconds
        progress.advance()
    assert progress.images_per_second == pytest.approx(16)
    assert progress.seconds_left == pytest.approx(87 * 2)
    now[0] += 4
    progress.pause(4)
    assert progress.images_per_second == pytest.approx(16)
    assert progress.seconds_left == pytest.approx(87 * 4)
    assert log.clock(3725) == "1:02:05" and log.clock(59.6) == "1:00"
