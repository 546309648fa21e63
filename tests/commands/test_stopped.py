"""Real processes that SIGTERM asks to stop: status 75, and nothing is redone."""

import contextlib
import signal
import subprocess
import sys
import time

from jaxadv import console
from jaxadv.evaluation import table
from jaxadv.training import log
from tests import processes
from tests.paths import ROOT
from tests.trainings import checksums, finished, newest


def wait(process, moment):
    """Returns as soon as `moment()`, or where the process has ended before."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and not moment():
        time.sleep(0.001)


def test_a_training_goes_on_bit_for_bit(train, whole, tmp_path):
    folder = tmp_path / "run"
    process = train(folder)
    wait(process, lambda: newest(folder) > 0)
    process.send_signal(signal.SIGTERM)
    status, _, error = finished(process)
    assert status == console.AGAIN, error
    last = f"step {newest(folder)} is saved; the same command goes on from here"
    assert error.splitlines()[-1] == f"asked to stop (SIGTERM): {last}"
    status, output, error = finished(train(folder))
    assert status == 0, error
    assert f"resuming at step {last.split()[1]} of" in output
    assert checksums(folder) == checksums(whole)
    assert log.timeless(folder) == log.timeless(whole)


def test_two_processes_stop_behind_one_step_when_one_is_asked(train, whole, tmp_path):
    folder = tmp_path / "run"

    def both(stack):
        common = ("--distributed", f"--coordinator={processes.address()}")
        for i in range(2):
            flags = (*common, "--processes=2", f"--process_id={i}")
            process = train(folder, *flags, devices=1)
            stack.enter_context(process)
            stack.callback(process.kill)
            yield process

    with contextlib.ExitStack() as stack:
        first, second = both(stack)
        wait(first, lambda: newest(folder) > 0)
        second.send_signal(signal.SIGTERM)
        ends = [finished(process) for process in (first, second)]
        line = f"asked to stop (SIGTERM): step {newest(folder)} is saved"
        for status, _, error in ends:
            assert status == console.AGAIN, error
            assert line in error
        for status, _, error in map(finished, list(both(stack))):
            assert status == 0, error
    assert checksums(folder) == checksums(whole)
    assert log.timeless(folder) == log.timeless(whole)


def test_an_evaluation_keeps_what_it_has_judged(environment, whole, tmp_path):
    def judge(name):
        return subprocess.Popen(
            [
                *(sys.executable, "eval.py", "--config=configs/suites/quick.py"),
                *(f"--checkpoint={whole}", f"--workdir={tmp_path / name}"),
                *("--config.batch_size=2", "--config.eps=0.1", "--cpu_devices=1"),
                *("--config.attacks.pgd_linf.steps=40", "--config.checks=none"),
                *("--config.pictures=0", "--config.examples=48"),
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    process = judge("parts")
    journal = tmp_path / "parts" / "journal"
    wait(process, lambda: any(journal.glob("*/*/*.npz")))
    process.send_signal(signal.SIGTERM)
    status, _, error = finished(process)
    assert status == console.AGAIN, error
    kept = "what is finished is kept; the same command goes on from here"
    assert error.splitlines()[-1] == f"asked to stop (SIGTERM); {kept}"
    assert not (tmp_path / "parts" / "table.npz").exists()
    for name in ("parts", "undisturbed"):
        status, _, error = finished(judge(name))
        assert status == 0, error
    parts, others = (
        table.load(tmp_path / name / "table.npz").columns
        for name in ("parts", "undisturbed")
    )
    assert {k: v.tobytes() for k, v in parts.items()} == {
        k: v.tobytes() for k, v in others.items()
    }
