"""Votes of certificates beside bare forward passes, and beside the public torch loop.

python -m benchmarks.speed.smoothing [--batch=500] [--draws=5000] [--rounds=7]

The bare network runs on the same number of images, without noise and without counting,
on one virtual device a core as ours does. The torch loop is that of Cohen, Rosenfeld
and Kolter's public code: a batch of noise, a forward pass, counts on the host; it has
as many threads. It is left out where torch is missing (`make bench` installs it).
"""

import argparse
import importlib.util
import os

import jax
import numpy as np

from benchmarks.networks import NETWORKS, build
from benchmarks.timing import alternate, ratio, table
from jaxadv import parallel
from jaxadv.smoothing.sampler import Sampler

SIGMA = 0.25
TORCH = importlib.util.find_spec("torch") is not None


def _bare(model, batch, draws):
    """Forward passes over `draws` images in the blocks of ours."""

    def logits(model, images):
        return jax.vmap(model)(images)

    run = parallel.mapped_rows(logits, whole=1)
    model = parallel.replicate(model)
    block = batch * jax.local_device_count()

    def passes(images):
        images = parallel.shard(images)
        for _ in range(0, draws, block):
            jax.block_until_ready(run(model, images))

    return passes, block


def _torch_loop(name, model, image, batch, draws):
    import torch

    from benchmarks.speed.peers import PEERS, carry_over

    module = carry_over(model.variables, PEERS[name]())
    one = torch.tensor(image.transpose(2, 0, 1).copy())
    torch.set_flush_denormal(True)

    def loop():
        counts, left = np.zeros(10, int), draws
        with torch.no_grad():
            while left > 0:
                size = min(batch, left)
                left -= size
                images = one.repeat((size, 1, 1, 1))
                noise = torch.randn_like(images) * SIGMA
                found = module(images + noise).argmax(1)
                for label in found.numpy():
                    counts[label] += 1
        return counts

    return loop


def measure(name, args):
    model, images, _ = build(name, args.batch)
    sampler = Sampler(model, SIGMA, args.batch)
    key, image = jax.random.key(0), images[0]
    passes, block = _bare(model, args.batch, args.draws)
    rows = np.resize(images, (block, *image.shape))

    def ours():
        for _ in sampler.counts(key, image, 0, (args.draws,)):
            pass

    contenders = {"ours": ours, "bare": lambda: passes(rows)}
    if TORCH:
        loop = _torch_loop(name, model, image, args.batch, args.draws)
        contenders["torch"] = loop
    seconds = alternate(contenders, args.rounds)
    other = ratio(seconds["torch"], seconds["ours"]) if TORCH else "-"
    each = f"{args.draws / np.median(seconds['ours']):.0f}"
    return [name, each, ratio(seconds["bare"], seconds["ours"]), other]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=500, help="draws at a time")
    parser.add_argument("--draws", type=int, default=5000, help="of one image")
    parser.add_argument("--rounds", type=int, default=7, help="timed repetitions")
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    devices = f"{jax.local_device_count()} {jax.devices()[0].device_kind} devices"
    print(f"{args.draws} draws of one image, {args.batch} at a time on {devices}, "
          f"jax {jax.__version__}: median (quartiles)")  # fmt: skip
    header = ["network", "our draws/s", "÷ bare passes", "÷ torch loop"]
    table(header, [measure(name, args) for name in NETWORKS])


if __name__ == "__main__":
    main()
