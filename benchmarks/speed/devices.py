"""Images per second of PGD-10 on one and on two virtual CPU devices.

python -m benchmarks.speed.devices [--batch=128]
"""

import argparse
import functools
import subprocess
import sys

import jax
import numpy as np

from benchmarks.networks import NETWORKS, build
from benchmarks.timing import alternate, table
from jaxadv.attacks import Ascent
from jaxadv.craft import Crafter, craft_batches
from jaxadv.threats import Linf


def measure(batch: int, rounds: int) -> None:
    """Prints images per second of each network on this process's devices."""
    devices = jax.local_device_count()
    for name in NETWORKS:
        model, images, labels = build(name, batch)
        attack = Ascent(Linf(8 / 255), steps=10, rel_step_size=0.25)
        run = functools.partial(
            craft_batches, attack, model, jax.random.key(0), images, labels,
            batch_size=batch // devices, crafter=Crafter(),
        )  # fmt: skip
        seconds = np.median(alternate({"run": run}, rounds)["run"])
        print(f"{batch / seconds:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128, help="images at a time")
    parser.add_argument("--rounds", type=int, default=8, help="timed repetitions")
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        jax.config.update("jax_num_cpu_devices", args.child)
        measure(args.batch, args.rounds)
        return
    speeds = {}
    for devices in (1, 2):
        command = [
            sys.executable,
            "-m",
            "benchmarks.speed.devices",
            f"--child={devices}",
        ]
        command += [f"--batch={args.batch}", f"--rounds={args.rounds}"]
        out = subprocess.run(command, capture_output=True, text=True, check=True)
        speeds[devices] = [float(line) for line in out.stdout.split()]
    print(f"PGD-10, {args.batch} images, images/s on virtual CPU devices")
    rows = [
        [name, f"{one:.0f}", f"{two:.0f} ({two / 2:.0f} each)", f"{two / one:.2f}"]
        for name, one, two in zip(NETWORKS, speeds[1], speeds[2], strict=True)
    ]
    table(["network", "1 device", "2 devices", "2 ÷ 1"], rows)


if __name__ == "__main__":
    main()
