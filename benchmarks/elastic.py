"""Runs of 1, 2 and 4 processes, also in turns: do they end alike?

python -m benchmarks.elastic FOLDER

A tiny training of 24 steps, with one batch size: by one process, by 2 and by 4 twice
each, and one that 2 processes begin, 1 goes on with and 4 end, as SIGTERM stops the
first two behind some steps. An evaluation of the first one's weights: by 1, 2 and 4
processes, and by 4 of which one is killed (SIGKILL) when each has judged some images,
and 2 end. Each process has one device. Prints a Markdown table; the exit status is 1
where repeats or tables differ, or weights by more than 1e-5 (relative and absolute)
from those of one process.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from benchmarks import kills
from benchmarks.timing import table
from jaxadv import checkpoints

TOLERANCE = 1e-5  # what docs/training.md states
FOLDER, EVALUATIONS = "elastic", "elastic_eval"
ONE = "--cpu_devices=1"
SELDOM = "--config.checkpoint_steps=8"  # of 24


def trainings(root: Path):
    """Rows: is a repeat equal, how far from one process, what happened in between."""
    one = kills.Run(root, "train", FOLDER, 1)
    one.finish("one", ONE, SELDOM)
    for count in (2, 4):
        run = kills.Run(root, f"train{count}", FOLDER, 1)
        same = run.finish(f"{count}a", SELDOM) == run.finish(f"{count}b", SELDOM)
        yield row(f"training, {count} processes", same, root, f"{count}a", "")
    stops = []
    for count in ("2", ""):
        run = kills.Run(root, f"train{count}", FOLDER, 1)
        folder = run.folder / "turns"
        until = kills.steps(folder)[1] + 3
        processes = run.start("turns", ONE, SELDOM)
        when(processes, lambda: kills.steps(folder)[1] >= until)  # noqa: B023
        stops.append(stopped(run, processes))
    kills.Run(root, "train4", FOLDER, 1).finish("turns", SELDOM)
    note = f"stopped at steps {' and '.join(stops)} of 24"
    yield row("training, 2, then 1, then 4 processes", True, root, "turns", note)


def row(what: str, same: bool, root: Path, name: str, note: str):
    """A training's row, compared with that of one process."""
    a, b = (weights(root / FOLDER / each) for each in ("one", name))
    far = difference(a, b)
    close = all(
        np.allclose(x, y, rtol=TOLERANCE, atol=TOLERANCE)
        for x, y in zip(a, b, strict=True)
    )
    return [what, "yes" if same else "NO", f"{far:.1e}", note], same and close


def evaluations(root: Path):
    """Rows: is the table that of one process?"""
    flags = (f"--checkpoint={root / FOLDER / 'one'}",)
    runs = {n: kills.Run(root, f"eval{n}", EVALUATIONS) for n in ("", "2", "4")}
    whole = runs[""].finish("one", *flags, ONE)
    for count in ("2", "4"):
        same = runs[count].finish(count, *flags) == whole
        yield [f"evaluation, {count} processes", "yes" if same else "NO", "0", ""], same
    name, run = "turns", runs["4"]
    processes = run.start(name, *flags)
    folder = run.folder / name
    when(processes, lambda: len(writers(folder)) == run.count)
    processes[2].send_signal(signal.SIGKILL)
    statuses = [process.wait(kills.END) for process in processes]
    said = [log.read_text() for log in run.logs(name, run.count)]
    told = kills.ended(statuses, said, 2, signal.SIGKILL, 0)
    same = runs["2"].finish(name, *flags) == whole
    what = "evaluation, 4 processes, process 2 killed, then 2 processes"
    note = f"the others ended with {sorted({s for s in statuses if s >= 0})}"
    yield [what, "yes" if same else "NO", "0", note], same and told


def writers(folder: Path) -> set[str]:
    """The processes that have written to an evaluation's journal."""
    return {path.name[:4] for path in folder.glob("journal/*/*/*.npz")}


def stopped(run: kills.Run, processes: list[subprocess.Popen]) -> str:
    """Stops a training with SIGTERM to its last process; the step it is at."""
    processes[-1].send_signal(signal.SIGTERM)
    statuses = [process.wait(kills.END) for process in processes]
    saved, _ = kills.steps(run.folder / "turns")
    said = [log.read_text() for log in run.logs("turns", run.count)]
    if not kills.ended(statuses, said, run.count - 1, signal.SIGTERM, saved):
        raise SystemExit(f"{run.folder / 'turns'}: ended with {statuses}; see its logs")
    return str(saved)


def when(processes: list[subprocess.Popen], moment: Callable[[], bool]) -> None:
    """Waits for the moment.

    Raises:
      SystemExit: a process has ended before it.
    """
    while not moment():
        if any(process.poll() is not None for process in processes):
            raise SystemExit("a process ended too early; see its log")
        time.sleep(0.001)


def weights(folder: Path) -> list[np.ndarray]:
    """The last weights of a training."""
    model, *_ = checkpoints.load_classifier(folder, "last")
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model.variables)]


def difference(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """The largest absolute difference of two lists of arrays."""
    return max(float(np.max(np.abs(x - y))) for x, y in zip(a, b, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    root = parser.parse_args().folder.absolute()
    for folder in (root / FOLDER, root / EVALUATIONS):
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier call
    rows, well = [], []
    for rows_of in (trainings, evaluations):
        for line, right in rows_of(root):
            print(*line, sep=", ", flush=True)
            rows.append(line)
            well.append(right)
    table(["run", "equal bit for bit", "largest difference", "note"], rows)
    return int(not all(well))


if __name__ == "__main__":
    sys.exit(main())
