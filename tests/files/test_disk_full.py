"""A full disk at each place that is written: one line, a status, and nothing half."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from jaxadv import checkpoints, console, weights
from jaxadv.craft.journal import Journal
from jaxadv.evaluation import table
from jaxadv.evaluation.report import plots
from jaxadv.evaluation.writing import files
from jaxadv.files import storage
from jaxadv.models import MODELS
from jaxadv.specs import UsageError
from jaxadv.training import log
from tests.paths import ROOT

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def ends_in_one_line(capsys, work, *words):
    """Whether a command that does `work` ends as it should on a full disk."""
    assert console.conclude(work) == console.SYSTEM == 74
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    for word in ("No space left on device", *words):
        assert word in error


def fail(*given, **more):
    raise FULL


def fill(file):
    """Makes every later writing to an open file fail as on a full disk."""
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file.fileno())
    os.close(full)


def half(path, *given, **more):
    """Writes a part, and fails."""
    with open(path, "wb") as file:
        file.write(b"half")
    raise FULL


def test_checkpoints(tmp_path, capsys, monkeypatch):
    store = checkpoints.Checkpoints(tmp_path / "run")
    model = {"params": {"w": np.zeros(1000, np.float32)}}
    trees = {"model": model, "training": {"step": np.array(1)}}
    store.save(1, trees, {})
    store.save_best(1, model, {})
    store.wait()
    usage = shutil.disk_usage(tmp_path)._replace(free=checkpoints._BESIDE)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    for folder, save in (
        (checkpoints.LAST, lambda: store.save(2, trees, {})),
        (checkpoints.BEST, lambda: store.save_best(2, model, {})),
    ):
        ends_in_one_line(capsys, save, f"run/{folder}", "a checkpoint takes 1 MiB")
        assert [p.name for p in (tmp_path / "run" / folder).iterdir()] == ["1"]
    store.close()


def test_the_config_of_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Path, "write_text", half)
    work = lambda: checkpoints.write_config(tmp_path, {})  # noqa: E731
    ends_in_one_line(capsys, work, "--workdir")
    assert list(tmp_path.iterdir()) == []


def test_metrics_and_tensorboard(tmp_path, capsys):
    writer = log.Writer(tmp_path)
    writer.write(1, "train", {"loss": 1.0})
    board = writer._boards[0]._file._py_recordio_writer._writer
    fill(board)

    def work():
        for step in range(100):  # more than a buffer holds
            writer.write(2 + step, "train", {f"loss{i}": 1.0 for i in range(50)})

    ends_in_one_line(capsys, work, "tensorboard")
    fill(writer._file)
    write = lambda: writer.write(200, "train", {"loss": 1.0})  # noqa: E731
    ends_in_one_line(capsys, write, "metrics.jsonl")
    ends_in_one_line(capsys, writer.close)
    with contextlib.suppress(OSError):
        board.close()


def test_metrics_of_a_resumed_run(tmp_path, capsys, monkeypatch):
    writer = log.Writer(tmp_path)
    writer.write(1, "train", {"loss": 1.0})
    writer.close()
    before = (tmp_path / log.FILE).read_text()
    monkeypatch.setattr(Path, "write_text", half)
    ends_in_one_line(capsys, lambda: log.Writer(tmp_path, 1), "metrics.jsonl")
    assert (tmp_path / log.FILE).read_text() == before
    assert not list(tmp_path.glob(".*"))


def test_the_journal(tmp_path, capsys, monkeypatch):
    journal = Journal(tmp_path / "j")
    journal.write(np.arange(2), {"a": np.zeros(2)})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        ends_in_one_line(capsys, journal.flush, "j/000-", ".npz")
        assert list((tmp_path / "j").iterdir()) == []
    journal.flush()  # nothing of it is lost
    assert len(Journal(tmp_path / "j").load(np.arange(2), {"a": np.zeros(2)})) == 2


@pytest.mark.parametrize("there", [False, True])
def test_report_table_and_pictures(tmp_path, capsys, monkeypatch, there):
    names = ["report.md", "table.npz", "curve.png"]
    if there:
        for name in names:
            (tmp_path / name).write_bytes(b"before")
    found = table.Table({"id": np.arange(3)}, {})
    figure = plots.pyplot().figure()
    monkeypatch.setattr(Path, "write_text", half)
    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(figure, "savefig", half)
    for name, work in (
        ("report.md", lambda: files.write(tmp_path / "report.md", "text")),
        ("table.npz", lambda: table.save(found, tmp_path / "table.npz")),
        ("curve.png", lambda: plots.write(figure, tmp_path / "curve.png")),
    ):
        ends_in_one_line(capsys, work, name)
    assert not plots.pyplot().fignum_exists(figure.number)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == (dict.fromkeys(names, b"before") if there else {})


def test_weights(tmp_path, capsys, monkeypatch):
    def save(flat, path, metadata):
        path.write_bytes(b"half")
        raise safetensors.SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(safetensors.numpy, "save_file", save)
    module = MODELS["mlp"](num_classes=2)
    found = weights.Weights(module, {"params": {"w": np.zeros(1)}}, (0.0,), (1.0,))
    work = lambda: weights.save(tmp_path / "x.safetensors", found)  # noqa: E731
    ends_in_one_line(capsys, work, "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_prepared_data(tmp_path):
    """A real limit, as the records are written by a library in another language."""
    limited = ["bash", "-c", 'ulimit -f 100 && exec "$@"', "bash"]
    command = [sys.executable, "-m", "jaxadv.data.prepare", "mnist5k", "--data_dir"]
    done = subprocess.run(
        [*limited, *command, str(tmp_path / "data")],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == console.SYSTEM, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


# What is whose fault


@pytest.mark.parametrize(
    "error, status",
    [
        (UsageError("a mistake"), 2),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "x"), 2),
        (OSError("of a library, without a number"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 74),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 74),
        (OSError(errno.EIO, "Input/output error", "x"), 74),
        (OSError(errno.EMFILE, "Too many open files", "x"), 74),
        (RuntimeError("RESOURCE_EXHAUSTED:\nNo space left on device\nmore"), 74),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_status_says_whose_fault_it_is(capsys, error, status):
    def work():
        raise error

    assert console.conclude(work) == status
    assert capsys.readouterr().err.count("\n") == 1


def test_a_full_disk_behind_another_error_is_found(capsys):
    def work():
        try:
            fail()
        except OSError:
            raise ValueError("a library's own words") from None

    ends_in_one_line(capsys, work)


def test_faults_of_the_program_are_raised():
    with pytest.raises(ZeroDivisionError):
        console.conclude(lambda: 1 // 0)


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with storage.replacing(tmp_path / "x") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


# What a run has written, and somebody has changed


@pytest.mark.parametrize(
    "line",
    ["text", "[1]", "3", '{"loss": 1}', '{"step": "1"}', "", "[" * 100_000, "\x00" * 9],
    ids=range(8),
)
def test_a_foreign_line_among_the_metrics(tmp_path, line):
    writer = log.Writer(tmp_path)
    writer.write(1, "train", {"loss": 1.0})
    writer.close()
    path = tmp_path / log.FILE
    with path.open("a") as file:
        file.write(line + "\n")
        file.write('{"step": 2, "kind": "train"}\n')
    before = path.read_bytes()
    with pytest.raises(UsageError, match="metrics.jsonl: line 2 is none that training"):
        log.Writer(tmp_path, 1)
    assert path.read_bytes() == before


def test_an_unfinished_line_is_dropped_and_later_steps_too(tmp_path):
    writer = log.Writer(tmp_path)
    for step in (1, 2, 3):
        writer.write(step, "train", {"loss": float("nan")})
    writer.close()
    with (tmp_path / log.FILE).open("a") as file:
        file.write('{"step": 4, "ki')
    assert [row["step"] for row in log.read(tmp_path)] == [1, 2, 3]
    log.Writer(tmp_path, 2).close()
    assert [row["step"] for row in log.read(tmp_path)] == [1, 2]
