"""One run in a folder at a time, and no lock that outlives its process."""

import errno
import fcntl
import subprocess
import sys

import pytest

from jaxadv.files import locks
from jaxadv.specs import UsageError
from tests.paths import ROOT

HOLDER = """
import sys, time
from jaxadv.files import locks
with locks.hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_told_who_is_there(tmp_path):
    folder = tmp_path / "a" / "run"
    with locks.hold(folder):
        words = f"--workdir: {folder} is in use by process [0-9]+ on .*; wait"
        with pytest.raises(UsageError, match=words), locks.hold(folder):
            pass
        with locks.hold(tmp_path / "other"):
            pass
        (folder / "result").touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "run", "result"]


def test_an_unused_folder_goes_again(tmp_path):
    with pytest.raises(KeyError), locks.hold(tmp_path / "a" / "run"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_holds_nothing(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        words = f"in use by process {holder.pid} "
        with pytest.raises(UsageError, match=words), locks.hold(tmp_path):
            pass
        holder.kill()
    with locks.hold(tmp_path):
        pass


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.warns(UserWarning, match="has no locks"), locks.hold(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match="--workdir: .* cannot be written: Not a dir"),
        locks.hold(tmp_path / "file" / "run"),
    ):
        pass
