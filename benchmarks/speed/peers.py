"""PGD-10 beside torchattacks' PGD: same weights, images, steps and cores.

python -m benchmarks.speed.peers [--batch=128] [--rounds=10]

Ours runs as an evaluation does, on one virtual device per core; torch has as many
threads.

Needs torch and torchattacks (`make bench` installs them).
"""

import argparse
import functools

import jax
import numpy as np
import torch
import torchattacks
from torch import nn

from benchmarks.networks import build
from benchmarks.timing import alternate, ratio, table
from jaxadv.attacks import Ascent
from jaxadv.craft import Crafter, craft_batches
from jaxadv.threats import Linf

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10


class LeNetV2(nn.Module):
    """Our layers under our names; takes [0, 1] images."""

    def __init__(self, mean=0.5, std=0.5):
        super().__init__()
        self.mean, self.std = mean, std
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.dense1 = nn.Linear(7 * 7 * 64, 128)
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        x = (x - self.mean) / self.std
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        return self.head(torch.relu(self.dense1(x)))


class Block(nn.Module):
    """A basic residual block."""

    def __init__(self, before, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.changes = stride != 1 or before != width
        if self.changes:
            self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(width)

    def forward(self, x):
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(
            y + (self.shortcut_norm(self.shortcut(x)) if self.changes else x)
        )


class ResNet18(nn.Module):
    """The CIFAR layout at width 16; takes [0, 1] images."""

    def __init__(self, width=16):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.order, before = [], width
        for stage in range(4):
            for block in range(2):
                after = width * 2**stage
                name = f"stage{stage + 1}_block{block + 1}"
                stride = 2 if stage and not block else 1
                self.add_module(name, Block(before, after, stride))
                self.order.append(name)
                before = after
        self.head = nn.Linear(before, 10)

    def forward(self, x):
        x = torch.relu(self.stem_norm(self.stem((x - 0.5) / 0.5)))
        for name in self.order:
            x = self.get_submodule(name)(x)
        return self.head(x.mean((2, 3)))


NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
STATS = {"mean": "running_mean", "var": "running_var"}


def carry_over(variables, module):
    """Copies linen variables to the torch module with the same layer names."""
    for group, names in (("params", NAMES), ("batch_stats", STATS)):
        leaves = jax.tree_util.tree_leaves_with_path(variables.get(group, {}))
        for path, leaf in leaves:
            *layers, name = (part.key for part in path)
            value = np.asarray(leaf)
            if name == "kernel":
                value = value.transpose((3, 2, 0, 1) if value.ndim == 4 else (1, 0))
            target = getattr(module.get_submodule(".".join(layers)), names[name])
            with torch.no_grad():
                target.copy_(torch.tensor(value.copy()))
    return module.eval()


PEERS = {
    "LeNetV2, 28x28x1": LeNetV2,
    "ResNet-18 width 16, 32x32x3": ResNet18,
}


def measure(name, batch, rounds):
    model, images, labels = build(name, batch)
    module = carry_over(model.variables, PEERS[name]())
    theirs = torch.tensor(images.transpose(0, 3, 1, 2).copy())
    targets = torch.tensor(labels, dtype=torch.long)
    with torch.no_grad():
        logits = np.asarray(jax.jit(jax.vmap(model))(images))
        np.testing.assert_allclose(module(theirs).numpy(), logits, atol=2e-3)
    last = carry_over(model.variables, PEERS[name]())
    last = last.to(memory_format=torch.channels_last)
    channels_last = theirs.contiguous(memory_format=torch.channels_last)
    attack = Ascent(Linf(EPS), steps=STEPS, step_size=STEP, keep="last")
    ours = functools.partial(
        craft_batches, attack, model, jax.random.key(0), images, labels,
        batch_size=batch // jax.local_device_count(), crafter=Crafter(),
    )  # fmt: skip

    def torch_pgd(module, images):
        pgd = torchattacks.PGD(module, eps=EPS, alpha=STEP, steps=STEPS)
        return lambda: pgd(images, targets)

    seconds = alternate(
        {
            "ours": ours,
            "default": torch_pgd(module, theirs),
            "last": torch_pgd(last, channels_last),
        },
        rounds,
    )
    return [
        name,
        f"{batch / np.median(seconds['ours']):.0f}",
        ratio(seconds["default"], seconds["ours"]),
        ratio(seconds["last"], seconds["ours"]),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128, help="images at a time")
    parser.add_argument("--rounds", type=int, default=10, help="timed repetitions")
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    jax.config.update("jax_num_cpu_devices", torch.get_num_threads())
    print(f"PGD-{STEPS}, batch {args.batch}: our speed / torchattacks' "
          f"(torch {torch.__version__}, {torch.get_num_threads()} threads, "
          f"jax {jax.__version__}): median (quartiles)")  # fmt: skip
    rows = [measure(name, args.batch, args.rounds) for name in PEERS]
    header = ["network", "our images/s", "÷ default layout", "÷ channels_last"]
    table(header, rows)


if __name__ == "__main__":
    main()
