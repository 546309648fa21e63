"""What the benchmarks of kills conclude from the ends of processes."""

import json
import signal

import numpy as np
import pytest

from benchmarks import elastic, kills

LOST = "error: process 1 of 3 is lost (killed?); the same command\n"
ASKED = "asked to stop (SIGTERM): step 6 is saved; the same command\n"
KEPT = "asked to stop (SIGTERM): what is finished is kept; the same command\n"


@pytest.mark.parametrize(
    "statuses, said, well",
    [
        ([75, -9, 75], [LOST, "", LOST], True),
        ([75, -9, 75], [LOST, "", LOST.replace("1", "0")], False),
        ([75, -9, 75], [LOST, "", ""], False),
        ([75, -9, -9], [LOST, "", LOST], False),
        ([75, -9, 0], [LOST, "", LOST], False),
        ([75, -6, 75], [LOST, "", LOST], False),
    ],
)
def test_all_others_end_and_name_the_lost_process(statuses, said, well):
    assert kills.ended(statuses, said, 1, signal.SIGKILL, 0) == well


@pytest.mark.parametrize(
    "statuses, said, well",
    [
        ([75, 75], [ASKED, ASKED], True),
        ([75, 75], [KEPT, KEPT], True),
        ([75, 75], [ASKED, ASKED.replace("6", "5")], False),
        ([75, 75], [ASKED, ""], False),
        ([75, -15], [ASKED, ASKED], False),
        ([75, 0], [ASKED, ASKED], False),
    ],
)
def test_all_that_are_asked_end_with_the_step_that_is_saved(statuses, said, well):
    assert kills.ended(statuses, said, 1, signal.SIGTERM, 6) == well


def test_steps_that_are_saved_and_logged(tmp_path):
    assert kills.steps(tmp_path) == (0, 0)
    for name in ("3", "12", "15-tmp"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    rows = [json.dumps({"step": step}) for step in (9, 13)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*rows, '{"st']))
    assert kills.steps(tmp_path) == (12, 13)


def test_a_number_counts_the_processes(tmp_path):
    counts = {"train": 1, "train2": 2, "eval4": 4, "certify": 1}
    for what, count in counts.items():
        assert kills.Run(tmp_path, what).count == count
    assert kills.Run(tmp_path, "train4").result is kills.trained
    assert kills.Run(tmp_path, "eval4").result is kills.evaluated


def test_the_largest_difference_of_weights():
    a, b = [np.zeros(2), np.ones((2, 2))], [np.array([0, 0.5]), np.ones((2, 2))]
    assert elastic.difference(a, b) == 0.5
