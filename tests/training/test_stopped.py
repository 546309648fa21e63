"""A training that is asked to stop, wherever it looks, ends as others do."""

import json

import pytest

from jaxadv import console, parallel
from jaxadv.training import log, loop

STEPS, BATCHES = 3, 1  # of an epoch: of training, and of its validation


def left(folder):
    """The checksums of epochs and the metrics that a run leaves, but for its pace."""
    kept = [
        json.loads((folder / name / "meta" / "metadata").read_text())["checksums"]
        for name in ("checkpoints/3", "checkpoints/6", "best/6")
    ]
    return kept, log.timeless(folder)


@pytest.fixture
def stop(monkeypatch):
    """`stop(look)` asks a run to stop at its look of that number, from 0."""

    def set_up(number):
        looks = iter(range(10**9))
        monkeypatch.setattr(parallel, "stops_here", lambda: next(looks) == number)

    return set_up


def test_it_goes_on_from_any_place(small_config, tmp_path, stop, capsys):
    small_config.epochs = 2
    whole = tmp_path / "whole"
    loop.run(small_config, whole)
    for look in (1, 2, 3, 7):  # within and behind an epoch, and in validations
        folder = tmp_path / str(look)
        stop(look)
        step = look - look // (STEPS + BATCHES) * BATCHES + 1
        if look % (STEPS + BATCHES) >= STEPS:  # validation, behind the last step
            step -= 1
        with pytest.raises(console.Stopped, match=f"step {step} is saved"):
            loop.run(small_config, folder)
        assert (folder / "checkpoints" / str(step)).is_dir()
        stop(-1)
        capsys.readouterr()
        assert loop.run(small_config, folder).finished == "2 epochs"
        assert f"resuming at step {step} of 6" in capsys.readouterr().out
        assert left(folder) == left(whole), look
