"""Weak and strong scaling of a training step over processes, and a model of pods.

python -m benchmarks.speed.scaling [--processes 1 2 4] [--batch=64] [--chip_rate=IMAGES]

Three tables:

1. Measured: seconds of a step of PGD adversarial training in 1, 2 and 4 processes of
   this machine, with a batch for each (weak) and one batch for all (strong). Each
   process has one device, and cores of its own where there are enough; a line says
   where not.
2. Counted: the bytes of the step's collectives, from its compiled HLO.
3. A MODEL, nothing of which is measured: for n chips a step takes

     time = compute + 2 (n - 1) / n * bytes / bandwidth

   which is an all-reduce around a ring that uses all links of a chip, with no latency
   and no overlap with the computation. `compute` is that of one chip's images,
   batch / --chip_rate, a rate that has to be measured on one such chip; without it the
   table has the time of the all-reduce alone. Bandwidths are the makers' own, one way:
   half of what is told for both ways together.

Sources: TPU v5e, 400 GB/s both ways, 256 chips a pod:
docs.cloud.google.com/tpu/docs/v5e. TPU v5p, 1,200 GB/s both ways, and 50 Gb/s a chip
between pods: docs.cloud.google.com/tpu/docs/v5p. NVLink 4 of the H100, 450 GB/s one
way, 8 GPUs a machine: github.com/NVIDIA/nccl/issues/1264. InfiniBand NDR, a port of
400 Gb/s for each GPU of a DGX H100: docs.nvidia.com/dgx-basepod, "core components".
"""

import argparse
import dataclasses
import math
import os
import re
import socket
import subprocess
import sys
import time

import jax
import numpy as np

from benchmarks.networks import DENSE, NETWORKS
from benchmarks.timing import table
from jaxadv import parallel
from jaxadv.attacks import Ascent
from jaxadv.defenses import Adversarial
from jaxadv.defenses.base import Network
from jaxadv.models import MODELS
from jaxadv.threats import Linf
from jaxadv.training import state as train_state
from jaxadv.training.optim import Optimizer

CHIPS = (8, 16, 32, 64, 128, 256, 512, 1024)
# Name of a network -> its fields, and the shape of its images.
KINDS = {name: more for name, *more in (NETWORKS | DENSE).values()}
COLLECTIVES = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4,
         "f32": 4, "s64": 8, "u64": 8, "f64": 8}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Interconnect:
    """What joins chips.

    Attributes:
      name: of it.
      bandwidth: bytes a second that a chip sends while it receives as many.
      most: chips that it joins.
    """

    name: str
    bandwidth: float
    most: int


INTERCONNECTS = (
    Interconnect("TPU v5e, ICI", 200e9, 256),
    Interconnect("TPU v5p, ICI", 600e9, 6144),
    Interconnect("TPU v5p, between pods", 50e9 / 8, 18432),
    Interconnect("H100, NVLink 4", 450e9, 8),
    Interconnect("H100, InfiniBand NDR", 400e9 / 8, 10**9),
)


def collectives(hlo: str) -> dict[str, int]:
    """Bytes of the results of a compiled program's collectives, by their kind.

    One inside a loop counts once, however often the loop runs.

    Args:
      hlo: the program's text, as `compiled.as_text()` gives it.
    """
    found: dict[str, int] = {}
    for line in hlo.splitlines():
        match = re.search(rf"= (.*?) ({COLLECTIVES})(?:-start)?\(", line)
        if match:
            size = sum(
                BYTES[kind] * math.prod(int(n) for n in shape.split(",") if n)
                for kind, shape in re.findall(r"(\w+)\[([\d,]*)\]", match[1])
            )
            found[match[2]] = found.get(match[2], 0) + size
    return found


def step_seconds(compute: float, size: float, chips: int, bandwidth: float) -> float:
    """The model's seconds of a step; see the top of this file.

    Args:
      compute: seconds of the computation on one chip.
      size: bytes of the all-reduce.
      chips: how many.
      bandwidth: bytes a second.
    """
    return compute + 2 * (chips - 1) / chips * size / bandwidth


def pinned(count: int) -> list[set[int]] | None:
    """Disjoint cores for each of `count` processes; None where there are too few."""
    cores = sorted(os.sched_getaffinity(0))
    each = len(cores) // count
    if not each:
        return None
    return [set(cores[i * each : (i + 1) * each]) for i in range(count)]


def training(name: str, steps: int):
    """A step of PGD adversarial training, its state and its defense."""
    attack = Ascent(Linf(8 / 255), steps=steps, rel_step_size=0.25, keep="last")
    fields, shape = KINDS[name]
    state = train_state.create_state(
        Network(MODELS[name](**fields)),
        (),
        Optimizer().make(0.1),
        seed=0,
        image_shape=shape,
    )
    step = parallel.mapped(train_state.make_step(seed=0))
    return step, *map(parallel.replicate, (state, Adversarial((attack,))))


def images(name: str, count: int):
    """A process's random batch of `count` images, on its device."""
    first, shape = count * jax.process_index(), KINDS[name][1]
    rng = np.random.default_rng(first)
    rows = {
        "image": rng.integers(0, 256, (count, *shape)).astype(np.uint8),
        "label": rng.integers(0, 10, count).astype(np.int32),
        "id": np.arange(first, first + count, dtype=np.int32),
    }
    return parallel.shard(rows)


def child(args) -> None:
    """One of the processes; the first prints the seconds and the counted bytes."""
    if args.own:
        os.sched_setaffinity(0, {int(core) for core in args.own.split(",")})
    jax.config.update("jax_num_cpu_devices", 1)
    count = args.processes[0]
    parallel.initialize(count > 1, args.address, count, args.child)
    step, state, defense = training(args.network, args.attack_steps)
    batch = images(args.network, args.batch // count)
    found = collectives(step.lower(state, batch, defense).compile().as_text())
    seconds = []
    for _ in range(args.steps + 1):  # the first one compiles
        start = time.perf_counter()
        state, values = step(state, batch, defense)
        jax.block_until_ready(values)
        seconds.append(time.perf_counter() - start)
    if parallel.is_primary():
        print("result", np.median(seconds[1:]), sum(found.values()), flush=True)
    parallel.leave(0)


def measure(args, count: int, batch: int) -> tuple[float, int]:
    """Seconds of a step of `batch` images in `count` processes, and its bytes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    cores = pinned(count)
    running = []
    for i in range(count):
        own = ",".join(map(str, cores[i])) if cores else ""
        command = [
            sys.executable, "-m", "benchmarks.speed.scaling", f"--child={i}",
            f"--address={address}", f"--own={own}", f"--processes={count}",
            f"--batch={batch}", f"--steps={args.steps}", f"--network={args.network}",
            f"--attack_steps={args.attack_steps}",
        ]  # fmt: skip
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"a process of {count} has failed; see its output")
    _, seconds, size = outputs[0].split()[-3:]
    return float(seconds), int(size)


def measured(args) -> int:
    """Prints the first two tables; the bytes of a step's collectives."""
    rows, size, first = [], 0, {}
    for count in args.processes:
        if pinned(count) is None:
            cores = len(os.sched_getaffinity(0))
            print(
                f"NOTE: {count} processes share {cores} cores: their numbers show that "
                "it runs, not how it scales"
            )
        for kind, batch in (("weak", args.batch * count), ("strong", args.batch)):
            seconds, size = measure(args, count, batch)
            rate = batch / seconds / count
            base = first.setdefault(kind, rate)
            row = [kind, str(count), str(batch), f"{seconds:.3f}", f"{rate:.1f}"]
            rows.append([*row, f"{rate / base:.2f}"])
    header = ["scaling", "processes", "batch", "s / step", "images/s each"]
    table(
        [*header, f"÷ {args.processes[0]}"],
        sorted(rows, key=lambda row: row[0] == "strong"),
    )
    print(f"\ncollectives of a step over {args.processes[-1]} processes: {size} bytes")
    return size


def modeled(size: int, batch: int, rate: float | None) -> None:
    """Prints the third table, for `batch` images a chip."""
    print("\nMODEL, not measured: time = compute + 2 (n - 1) / n * bytes / bandwidth")
    rows = []
    for link in INTERCONNECTS:
        for chips in (n for n in CHIPS if n <= link.most):
            alone = step_seconds(0, size, chips, link.bandwidth)
            row = [link.name, str(chips), f"{1e3 * alone:.3f}"]
            if rate:
                compute = batch / rate
                row += [f"{1e3 * (compute + alone):.2f}"]
                row += [f"{compute / (compute + alone):.3f}"]
            rows.append(row)
    header = ["interconnect", "chips", "all-reduce, ms"]
    table([*header, *(["step, ms", "efficiency"] if rate else [])], rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch", type=int, default=64, help="images of a process")
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--network", choices=KINDS, default="resnet18")
    parser.add_argument("--attack_steps", type=int, default=10, help="of PGD")
    parser.add_argument(
        "--chip_rate", type=float, help="images/s of one chip, measured"
    )
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--own", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        child(args)
        return
    if odd := [n for n in args.processes if n < 1 or args.batch % n]:
        parser.error(f"--batch={args.batch} is not divisible by {odd[0]} processes")
    modeled(measured(args), args.batch, args.chip_rate)


if __name__ == "__main__":
    main()
