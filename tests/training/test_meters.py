"""Waiting for data, devices' memory, and traces of steps."""

import jax
import numpy as np
import pytest

from jaxadv import commands, parallel
from jaxadv.specs import UsageError
from jaxadv.training import log, loop, meters, profiling


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to."""
    now = [100.0]
    monkeypatch.setattr(meters.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def slow(clock, seconds):
    for number, wait in enumerate(seconds):
        clock(wait)
        yield number


def test_the_share_of_waiting(clock):
    waits = meters.Waits(slow(clock, [5, 1, 2, 3]))
    assert next(waits) == 0
    clock(50)  # the compilation
    assert np.isnan(waits.share())
    for number in (1, 2):
        assert next(waits) == number
        clock(6)  # a step
    assert waits.share() == pytest.approx((1 + 2) / (1 + 6 + 2 + 6))
    clock(1000)  # a validation
    next(waits)
    clock(9)
    assert waits.share() == pytest.approx(3 / 12)


def test_what_is_told_of_it(monkeypatch):
    monkeypatch.setattr(parallel, "memory", lambda: {"device_memory": 7})

    class Waited:
        def share(self):
            return 0.051

    found = meters.read(Waited())
    assert found == {"data_wait": 0.051, "device_memory": 7}
    assert meters.line(found) == "  data wait 5%"
    assert meters.line({"data_wait": 0.05}) == meters.line({}) == ""
    assert meters.read(meters.Waits(iter([]))) == {"device_memory": 7}


def test_the_slowest_process_is_told(monkeypatch):
    monkeypatch.setattr(parallel, "gather_rows", lambda x: np.array([*x, 0.5, np.nan]))

    class Waited:
        def share(self):
            return 0.1

    assert meters.read(Waited())["data_wait"] == 0.5


def test_memory_is_that_of_the_fullest_device(monkeypatch):
    class Device:
        def __init__(self, stats):
            self._stats = stats

        def memory_stats(self):
            return self._stats

    devices = [Device({"bytes_in_use": 3, "peak_bytes_in_use": 9, "largest": 1})]
    devices += [Device({"bytes_in_use": 5}), Device(None)]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    assert parallel.memory() == {"device_memory": 5, "device_memory_peak": 9}
    monkeypatch.setattr(jax, "local_devices", lambda: devices[2:])
    assert parallel.memory() == {}


def test_an_epoch_tells_its_waiting_and_a_few_steps_are_traced(
    small_config, tmp_path, capsys
):
    """Three steps an epoch; the process may be lost before the last one of a trace."""
    profile = profiling.Profile(tmp_path / "trace", 2, 3)
    small_config.epochs = 2
    loop.run(small_config, tmp_path / "run", profile=profile)
    rows = [row for row in log.read(tmp_path / "run") if row["kind"] == "epoch"]
    assert [0 <= row["data_wait"] <= 1 for row in rows] == [True, True]
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    output = capsys.readouterr().out
    assert (
        output.count(f"the trace of steps 2 to 3 of this start is in {tmp_path}") == 1
    )


def test_a_trace_that_is_not_complete(tmp_path):
    said = []

    def steps(count, name):
        profile = profiling.Profile(tmp_path / name, 2, 9)
        run = profiling.Traced(lambda x: x + 1, profile, said.append)
        assert [run(i) for i in range(count)] == [*range(1, count + 1)]
        run.close()

    steps(3, "short")
    assert said == [
        f"the trace of steps 2 to 3 of this start is in {tmp_path / 'short'}"
    ]
    assert list((tmp_path / "short").rglob("*.xplane.pb"))
    steps(1, "none")
    assert "ended after 1 steps, before step 2: there is no trace" in said[1]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "folder, steps, message",
    [
        ("", None, "--profile: give the folder"),
        (None, "3-4", "--profile: give the folder"),
        ("x", "4-3", "--profile_steps is '4-3'; give the first and the last"),
        ("x", "0-3", "--profile_steps is '0-3'"),
        ("x", "3", "as 10-15"),
        ("gs://x", None, "--profile is 'gs://x'"),
    ],
)
def test_what_cannot_be_traced(folder, steps, message):
    with pytest.raises(UsageError, match=message):
        profiling.asked(folder, steps)


def test_the_flags(tmp_path, capsys):
    folder = str(tmp_path / "t")
    assert profiling.asked(None, None) is None
    asked = profiling.asked(folder, None)
    assert asked == profiling.Profile(tmp_path / "t", 10, 15)
    arguments = [
        "train.py",
        "--config=configs/demo.py",
        f"--workdir={tmp_path / 'run'}",
    ]
    assert commands.train([*arguments, "--profile_steps=1-2"]) == 2
    assert "--profile: give the folder" in capsys.readouterr().err
