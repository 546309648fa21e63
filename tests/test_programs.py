"""Compiled programs that are kept: where, and what happens to damaged ones."""

import os
import subprocess
import sys

import jax
import jaxlib
import pytest

from jaxadv import cli, programs
from jaxadv.specs import UsageError
from tests.paths import ROOT

FIELDS = ("jax_compilation_cache_dir", "jax_enable_compilation_cache")


@pytest.fixture
def new(monkeypatch, tmp_path):
    """A process that has been told of no folder, and a home of its own."""
    before = {name: getattr(jax.config, name) for name in FIELDS}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    yield monkeypatch
    for name, value in before.items():
        jax.config.update(name, value)


def kept():
    return jax.config.jax_compilation_cache_dir


def test_the_folder_is_the_users_own(new, tmp_path):
    own = programs.default()
    assert own.parent == tmp_path / ".cache" / "jaxadv" / "xla"
    assert own.name.startswith(f"jaxlib-{jaxlib.__version__}-")
    new.setenv("XDG_CACHE_HOME", "relative")
    assert programs.default() == own
    new.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert programs.default() == tmp_path / "other" / "jaxadv" / "xla" / own.name
    programs.keep()
    assert kept() == str(programs.default())


def test_what_jax_has_been_told_stays(new, tmp_path):
    programs.keep(processes=True)
    assert kept() is None
    jax.config.update("jax_compilation_cache_dir", "mine")
    programs.keep()
    assert kept() == "mine"
    jax.config.update("jax_compilation_cache_dir", None)
    new.setenv("JAX_COMPILATION_CACHE_DIR", "")  # an explicit none
    programs.keep()
    assert kept() is None
    programs.keep(str(tmp_path / "flag"))
    assert kept() == str(tmp_path / "flag")
    programs.keep(programs.OFF)
    assert not jax.config.jax_enable_compilation_cache


def test_where_nothing_can_be_written_nothing_is_kept(new, tmp_path, capsys):
    (tmp_path / ".cache").write_text("in the way")
    programs.keep()
    assert kept() is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("compiled programs are not kept: ")
    assert line.endswith("/.cache is no folder")
    with pytest.raises(UsageError, match="--compilation_cache is '.*is no folder"):
        programs.keep(str(tmp_path / ".cache" / "x"))


def test_the_oldest_programs_make_room(tmp_path):
    for i in range(6):
        path = tmp_path / f"{i}-cache"
        path.write_bytes(bytes(10))
        os.utime(path, (i, i))
    (tmp_path / "notes").write_bytes(bytes(100))
    programs.prune(tmp_path, 60)
    assert len(list(tmp_path.iterdir())) == 7
    programs.prune(tmp_path, 59)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["4-cache", "5-cache", "notes"]


def test_the_flag_reaches_jax(new, tmp_path, capsys):
    jax.devices()  # so that the number of devices is settled

    def call(*arguments):
        config = ROOT / "configs" / "demo.py"
        return cli.main(
            ["train.py", f"--config={config}", f"--workdir={tmp_path}", *arguments],
            lambda *_: None,
            lambda *_: None,
            help_text="",
            fields={},
            whole_batch=False,
        )

    assert call() == 0 and kept() == str(programs.default())
    assert call(f"--compilation_cache={tmp_path / 'a'}") == 0
    assert kept() == str(tmp_path / "a")
    (tmp_path / "file").touch()
    assert call(f"--compilation_cache={tmp_path / 'file'}") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --compilation_cache is ") and error.count("\n") == 1
    assert call("--compilation_cache=off") == 0
    assert not jax.config.jax_enable_compilation_cache


PROCESS = """
import jax, jaxadv
assert not jax.config.jax_compilation_cache_dir  # importing keeps nothing
from jaxadv import programs
programs.keep()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
first = jax.jit(lambda x: x * 3 + 1)(2.0)
second = jax.jit(lambda x: x * 5 - 1)(2.0)
print(float(first), float(second), events.count("/jax/compilation_cache/cache_hits"))
"""


def test_a_damaged_program_costs_a_warning(tmp_path):
    def run():
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        del environment["JAX_COMPILATION_CACHE_DIR"]
        done = subprocess.run(
            [sys.executable, "-c", PROCESS],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        return done.stdout.split(), done.stderr

    output, _ = run()
    assert output == ["7.0", "9.0", "0"]
    files = sorted(tmp_path.rglob("*-cache"))
    assert len(files) == 2
    files[0].write_bytes(files[0].read_bytes()[:-20])  # killed while it was written
    output, error = run()
    assert output == ["7.0", "9.0", "1"]
    assert "Error reading persistent compilation cache" in error
