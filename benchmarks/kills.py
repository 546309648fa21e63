"""Kills a tiny training and evaluation again and again: is the result the same?

python -m benchmarks.kills FOLDER [--what train train2 mma iaat eval eval2 certify]
    [--kills=15] [--every=3] [--seed=0]

`mma` and `iaat` are trainings that remember single examples, `certify` counts the votes
of a smoothed network. `train2` and `eval2` are
runs of two processes, one of which is killed (SIGKILL). Half of the kills come at a
random moment, the others as soon as something is being written after it, if that is
seen. After every few kills the run is let finish, and its checkpoints and metrics, or
its per-example table, are compared bit for bit with those of a run that nothing
disturbed; no temporary file may be left. Prints a Markdown table; the exit status is 1
where a result differs. The data set mnist5k is prepared in FOLDER.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.timing import table
from jaxadv import peers
from jaxadv.evaluation import table as per_example
from jaxadv.training import log as metrics

TRAIN = [
    "train.py",
    "--config=configs/baselines/mnist5k_pgd_at.py",
    "--config.model.name=mlp",
    "--config.data.examples=240",
    "--config.data.validation=48",
    "--config.batch_size=8",
    "--config.epochs=3",
    "--config.attack.steps=1",
    "--config.validation.steps=2",
    "--config.checkpoint_steps=3",
    "--config.log_steps=3",
]
MEMORY = {
    "mma": ["mma", "min_eps=0.02", "d_max=0.5"],
    "iaat": ["iaat", "eps_warm=0.1", "gamma=0.02", "beta=0.5"],
}
EVAL = [
    "eval.py",
    "--config=configs/suites/quick.py",
    "--config.examples=200",
    "--config.batch_size=8",
    "--config.pictures=2",
]
CERTIFY = [
    "eval.py",
    "--config=configs/suites/certify.py",
    "--config.smoothing.sigma=0.25",
    "--config.smoothing.draws=20000",
    "--config.examples=20",
    "--config.batch_size=50",
]
LIMIT = 240  # seconds of one run


class Run:
    """One kind of run, in a folder of its own, with one or two processes."""

    def __init__(self, root: Path, what: str):
        self.root, self.count = root, 2 if what.endswith("2") else 1
        judged = {"eval": (EVAL, evaluated), "certify": (CERTIFY, certified)}
        kind = what.rstrip("2")
        self.command, self.result = judged.get(kind, (TRAIN, trained))
        if what in MEMORY:
            name, *fields = MEMORY[what]
            self.command = [*TRAIN, f"--config.defense.name={name}"]
            self.command += [f"--config.defense.{field}" for field in fields]
            self.command += ["--config.attack.rel_step_size=0.5"]
        if kind in judged:
            self.command = [*self.command, f"--checkpoint={root / 'train' / 'whole'}"]
        self.folder = root / what

    def start(self, name: str) -> list[subprocess.Popen]:
        command = [sys.executable, *self.command, f"--workdir={self.folder / name}"]
        command.append(f"--cpu_devices={2 // self.count}")
        more = [[]]
        if self.count > 1:
            common = ["--distributed", "--processes=2", f"--coordinator={_address()}"]
            more = [[*common, f"--process_id={i}"] for i in range(self.count)]
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAXADV_DATA_DIR": str(self.root / "data"),
            "JAX_COMPILATION_CACHE_DIR": str(self.root / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        processes = []
        for i, flags in enumerate(more):
            with open(self.folder / f"{name}.{i}.log", "ab") as log:
                processes.append(
                    subprocess.Popen(
                        [*command, *flags], env=environment, stdout=log, stderr=log
                    )
                )
        return processes

    def finish(self, name: str):
        """Runs to the end; the result."""
        processes = self.start(name)
        statuses = _wait(processes, LIMIT)
        if any(statuses):
            raise SystemExit(
                f"{self.folder / name}: ended with {statuses}; see its log"
            )
        return self.result(self.folder / name)

    def kill(self, name: str, rng: random.Random, seconds: float) -> bool:
        """Starts, and kills a process within `seconds`; whether it still ran."""
        while_writing, moment = rng.random() < 0.5, rng.uniform(0.2, 0.8) * seconds
        processes = self.start(name)
        start, victim = time.monotonic(), rng.choice(processes)
        while victim.poll() is None and time.monotonic() - start < LIMIT:
            passed = time.monotonic() - start
            late = not while_writing or passed > 0.85 * seconds
            if passed > moment and (late or _writes(self.folder / name)):
                break
            time.sleep(0.001)
        alive = victim.poll() is None
        victim.send_signal(signal.SIGKILL)
        others = [p for p in processes if p is not victim]
        statuses = _wait(others, LIMIT)
        _wait([victim], LIMIT)
        if alive and any(status not in (0, peers.STATUS) for status in statuses):
            print(f"{name}: the other process ended with {statuses}", flush=True)
        return alive


def trained(folder: Path):
    """All that a training leaves but its pace: checksums and metrics."""
    found = {}
    for path in sorted(folder.glob("*/*/meta/metadata")):
        meta = json.loads(path.read_text())
        found[str(path.relative_to(folder))] = meta["checksums"] | {"meta": None}
    rows = metrics.timeless(folder)
    return found, rows


def evaluated(folder: Path):
    """The bytes of the per-example table."""
    return (folder / "table.npz").read_bytes()


def certified(folder: Path):
    """The columns of the certificates, but for their seconds."""
    columns = per_example.load(folder / "certificates.npz").columns
    return {k: v.tobytes() for k, v in columns.items() if k != "seconds"}


def left(folder: Path) -> list[str]:
    """Temporary files, which no finished run has."""
    return [str(path) for path in folder.rglob("*") if "tmp" in path.name]


def _writes(folder):
    """Whether something is being written; a kill may come before or after it ends."""
    try:
        return any(folder.glob("checkpoints/*-tmp")) or any(folder.rglob("*.tmp"))
    except FileNotFoundError:  # taken away while we looked: it is at work
        return True


def _wait(processes, seconds):
    deadline = time.monotonic() + seconds
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.1))
        process.kill()
    return [process.wait() for process in processes]


def _address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def measure(root: Path, what: str, kills: int, every: int, rng: random.Random):
    """The row of a kind of run: kills, runs, how many of them ended the same."""
    run = Run(root, what)
    run.finish("warm")  # compiles
    start = time.monotonic()
    whole = run.finish("whole")
    seconds = time.monotonic() - start
    done, runs, same, clean = 0, 0, 0, 0
    while done < kills:
        name, here = f"killed{runs}", 0
        for _ in range(every):
            if not run.kill(name, rng, seconds):
                break  # it was faster
            here += 1
        equal = run.finish(name) == whole
        rest = left(run.folder / name)
        runs, done, same, clean = (
            runs + 1,
            done + here,
            same + equal,
            clean + (not rest),
        )
        print(f"{what} {name}: {here} kills, same: {equal}, left: {rest}", flush=True)
    return [what, str(done), str(runs), str(same), str(clean)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    kinds = ["train", "train2", *MEMORY, "eval", "eval2", "certify"]
    parser.add_argument("--what", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    root, rng = flags.folder.absolute(), random.Random(flags.seed)
    if not (root / "train" / "whole").exists() and "train" not in flags.what:
        Run(root, "train").finish("whole")  # what is evaluated
    header = ["run", "kills", "runs", "ended the same", "left nothing"]
    rows = [measure(root, w, flags.kills, flags.every, rng) for w in flags.what]
    table(header, rows)
    return int(any(row[2] != row[3] or row[2] != row[4] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
