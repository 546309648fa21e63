"""Kills a tiny training and evaluation again and again: is the result the same?

python -m benchmarks.kills FOLDER [--what train train2 train4 mma iaat eval eval2 eval4
    certify] [--signal=kill] [--kills=15] [--every=3] [--epochs=3] [--seed=0]

`mma` and `iaat` are trainings that remember single examples, `certify` counts the votes
of a smoothed network. A number is that of the processes, of which a random one is
killed, at a moment after all have met. Half of the kills come at a random moment, the
others as soon as something is being written after it, if that is seen. After every few
kills the run is let finish, and its checkpoints and metrics, or its per-example table,
are compared bit for bit with those of a run that nothing disturbed; no temporary file
may be left.

With `--signal=kill` (SIGKILL) every other process must end within 60 s with status 75
and name the lost one. With `--signal=term` (SIGTERM) all of them must, the one that is
asked too; a training must have a checkpoint of the very step they tell, and redoes the
steps that are in its metrics but not in that checkpoint. Prints a Markdown table; the
exit status is 1 where something is not so. The data set mnist5k is prepared in FOLDER.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.timing import table
from jaxadv import peers
from jaxadv.evaluation import table as per_example
from jaxadv.files import locks
from jaxadv.training import log as metrics

TRAIN = [
    "train.py",
    "--config=configs/baselines/mnist5k_pgd_at.py",
    "--config.model.name=mlp",
    "--config.data.examples=240",
    "--config.data.validation=48",
    "--config.batch_size=8",
    "--config.attack.steps=1",
    "--config.validation.steps=2",
    "--config.checkpoint_steps=3",
    "--config.log_steps=1",
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
END = 60  # seconds in which all processes must end when one is lost or asked to
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM}


class End(NamedTuple):
    """How the processes of a run have ended behind a signal to one of them.

    Attributes:
      seconds: until the last one had ended.
      told: whether all that outlived the signal ended with 75 and said why.
      redone: steps that the next start does again.
    """

    seconds: float
    told: bool
    redone: int


class Run:
    """A kind of run, in a folder of its own or a given one, and its processes.

    A number at the end of `what` is theirs. A training has 24 steps an epoch.
    """

    def __init__(self, root: Path, what: str, folder: str = "", epochs: int = 3):
        kind = what.rstrip("0123456789")
        self.root, self.count = root, int(what[len(kind) :] or 1)
        judged = {"eval": (EVAL, evaluated), "certify": (CERTIFY, certified)}
        self.command, self.result = judged.get(kind, (TRAIN, trained))
        if what in MEMORY:
            name, *fields = MEMORY[what]
            self.command = [*TRAIN, f"--config.defense.name={name}"]
            self.command += [f"--config.defense.{field}" for field in fields]
            self.command += ["--config.attack.rel_step_size=0.5"]
        if kind not in judged:
            self.command = [*self.command, f"--config.epochs={epochs}"]
        else:
            self.command = [*self.command, f"--checkpoint={root / 'train' / 'whole'}"]
        self.what, self.folder, self.starts = what, root / (folder or what), 0

    def start(self, name: str, *flags: str) -> list[subprocess.Popen]:
        """Its processes, with two devices in all, or as many as there are processes."""
        command = [sys.executable, *self.command, f"--workdir={self.folder / name}"]
        command += [f"--cpu_devices={max(2 // self.count, 1)}", *flags]
        more = [[]]
        if self.count > 1:
            common = ["--distributed", f"--processes={self.count}"]
            common.append(f"--coordinator={_address()}")
            more = [[*common, f"--process_id={i}"] for i in range(self.count)]
        self.starts += 1
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
        for log, own in zip(self.logs(name, len(more)), more, strict=True):
            with open(log, "wb") as log:
                processes.append(
                    subprocess.Popen(
                        [*command, *own], env=environment, stdout=log, stderr=log
                    )
                )
        return processes

    def logs(self, name: str, count: int) -> list[Path]:
        """What each process of the last start has said."""
        start = f"{name}.{self.what}.{self.starts}"
        return [self.folder / f"{start}.{i}.log" for i in range(count)]

    def finish(self, name: str, *flags: str):
        """Runs to the end; the result."""
        return self.ended(name, self.start(name, *flags))

    def ended(self, name: str, processes: list[subprocess.Popen]):
        """The result of processes that nothing disturbs."""
        statuses = _wait(processes, LIMIT)
        if any(statuses):
            raise SystemExit(
                f"{self.folder / name}: ended with {statuses}; see its log"
            )
        return self.result(self.folder / name)

    def met(self, name: str, processes: list[subprocess.Popen]) -> None:
        """Waits until all processes have met and the folder is theirs."""
        lock = self.folder / name / locks.FILE
        owner = f"process {processes[0].pid} on"
        while processes[0].poll() is None:
            with contextlib.suppress(FileNotFoundError):
                if lock.read_text().startswith(owner):
                    break
            time.sleep(0.001)

    def disturb(
        self, name: str, rng: random.Random, seconds: float, sign
    ) -> End | None:
        """Starts, and sends one process a signal; None where all was done before.

        Args:
          name: of the folder.
          rng: draws the process and the moment.
          seconds: that the whole run takes; of several processes, after they have met.
          sign: SIGKILL or SIGTERM.
        """
        low = 0.0 if self.count > 1 else 0.2
        while_writing, moment = rng.random() < 0.5, rng.uniform(low, 0.8) * seconds
        processes = self.start(name)
        victim = rng.randrange(self.count)
        if self.count > 1:
            self.met(name, processes)
        start = time.monotonic()
        while processes[victim].poll() is None and time.monotonic() - start < LIMIT:
            passed = time.monotonic() - start
            late = not while_writing or passed > 0.85 * seconds
            if passed > moment and (late or _writes(self.folder / name)):
                break
            time.sleep(0.001)
        start = time.monotonic()
        processes[victim].send_signal(sign)
        statuses = _wait(processes, END)
        passed = time.monotonic() - start
        if not any(statuses):
            return None
        said = [log.read_text() for log in self.logs(name, self.count)]
        saved, last = steps(self.folder / name)
        told = ended(statuses, said, victim, sign, saved)
        if not told:
            print(f"{name}, start {self.starts}: process {victim} of {statuses}")
        return End(passed, told, max(last - saved, 0))


def ended(statuses: list[int], said: list[str], victim: int, sign, saved: int) -> bool:
    """Whether all processes ended as they have to when one got a signal.

    Args:
      statuses: of the processes.
      said: what each has printed.
      victim: the number of the one that got it.
      sign: SIGKILL or SIGTERM.
      saved: the step of the newest checkpoint, 0 without one.
    """
    lost = f"error: process {victim} of {len(said)} is lost (killed?)"
    for i, (status, text) in enumerate(zip(statuses, said, strict=True)):
        if sign == signal.SIGKILL:
            well = lost in text or i == victim
            status = peers.STATUS if i == victim and status == -sign else status
        else:
            found = re.search(r"asked to stop \(SIGTERM\): (?:step (\d+) is)?", text)
            well = found is not None and int(found[1] or saved) == saved
        if status != peers.STATUS or not well:
            return False
    return True


def steps(folder: Path) -> tuple[int, int]:
    """The newest checkpoint's step and the last one that is logged, 0 without one."""
    names = [path.name for path in folder.glob("checkpoints/*")]
    saved = max((int(name) for name in names if name.isdigit()), default=0)
    return saved, max((row["step"] for row in metrics.read(folder)), default=0)


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


HEADER = [
    *("run", "signals", "slowest end (s)", "ended as told", "steps redone", "runs"),
    *("ended the same", "left nothing"),
]


def measure(root: Path, what: str, flags: argparse.Namespace, rng: random.Random):
    """The row of a kind of run, and whether all is well."""
    run, sign = Run(root, what, epochs=flags.epochs), SIGNALS[flags.signal]
    shutil.rmtree(run.folder, ignore_errors=True)  # of an earlier call
    run.finish("warm")  # compiles
    processes = run.start("whole")
    if run.count > 1:
        run.met("whole", processes)
    start = time.monotonic()
    whole = run.ended("whole", processes)
    seconds = time.monotonic() - start
    ends, results, clean = [], [], []
    while len(ends) < flags.kills:
        name = f"{flags.signal}{len(results)}"
        here = []
        while len(here) < min(flags.every, flags.kills - len(ends)):
            if (end := run.disturb(name, rng, seconds, sign)) is None:
                break  # it was faster
            here.append(end)
        ends += here
        results.append(run.finish(name) == whole)
        rest = left(run.folder / name)
        clean.append(not rest)
        print(f"{what} {name}: {here}, same: {results[-1]}, left: {rest}", flush=True)
    told = [end.told for end in ends]
    several = run.count > 1 or sign == signal.SIGTERM
    redone = max(end.redone for end in ends) if what.startswith("train") else "-"
    row = [
        *(what, f"{len(ends)} {sign.name}"),
        f"{max(end.seconds for end in ends):.1f}",
        f"{sum(told)}/{len(told)}" if several else "-",
        *(f"{redone}", f"{len(results)}"),
        *(f"{sum(results)}/{len(results)}", f"{sum(clean)}/{len(clean)}"),
    ]
    well = all(results) and all(clean) and (all(told) or not several)
    return row, well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    kinds = "train train2 train4 mma iaat eval eval2 eval4 certify".split()
    parser.add_argument("--what", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--signal", choices=SIGNALS, default="kill")
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    root, rng = flags.folder.absolute(), random.Random(flags.seed)
    judges = any(w.startswith(("eval", "certify")) for w in flags.what)
    if judges and not (root / "train" / "whole").exists():
        Run(root, "train").finish("whole")  # what is evaluated
    rows, well = zip(*(measure(root, w, flags, rng) for w in flags.what), strict=True)
    table(HEADER, list(rows))
    return int(not all(well))


if __name__ == "__main__":
    sys.exit(main())
