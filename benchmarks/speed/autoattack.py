"""AutoAttack beside its authors' package and torchattacks, on one trained LeNetV2.

python -m benchmarks.speed.autoattack RUN [--examples=500]
    [--peers authors torchattacks]

RUN is the folder of a training run of `lenet_v2` on `mnist5k`. Every component attacks
all the images that are right without it: robust accuracy and seconds of each side, and
of their union. Then `standard` as a whole, each component on what those before have
left. Ours compiles first on a few images. Last, the share of compaction: passes of the
network per image with it, if a batch ran until its slowest image is done, and if no
image ever stopped.

Needs torch, torchattacks and pyautoattack (`make bench` installs them).
"""

import argparse
import sys
import time

import jax
import numpy as np
import torch
import torchattacks
from pyautoattack import AutoAttack

from benchmarks.speed.peers import LeNetV2, carry_over
from benchmarks.timing import table
from jaxadv import checkpoints
from jaxadv.attacks import Apgd, Fab, Square
from jaxadv.craft import Crafter, craft_batches
from jaxadv.data import sources
from jaxadv.objectives import CrossEntropy, LikelyTarget
from jaxadv.threats import Linf

STEPS, TARGETS, QUERIES, BATCH = 100, 9, 5000, 100


def own(eps):
    """name -> our attack; the names are those of the authors."""
    threat = Linf(eps)
    return {
        "apgd-ce": Apgd(threat, CrossEntropy(), steps=STEPS),
        "apgd-t": Apgd(threat, LikelyTarget(), steps=STEPS, restarts=TARGETS),
        "fab-t": Fab(
            threat, round_steps=STEPS, targets=TARGETS, search=0, early_stop=True
        ),
        "square": Square(threat, steps=QUERIES, rescale=False),
    }


def passes_of(attack):
    """Forward and backward passes of a step."""
    return sum(getattr(attack, "passes", (1, 1)))


class Ours:
    """Our attacks of one model, each compiled once."""

    def __init__(self, model, eps, seed):
        self.model, self.attacks, self.crafter = model, own(eps), Crafter()
        self.key = jax.random.key(seed)
        self.passes, self.by_batch = {}, {}

    def prepare(self, images, labels):
        for name in self.attacks:
            self(name, images[:1], labels[:1])

    def __call__(self, name, images, labels):
        """(survivors [n], seconds); notes the passes of the network."""
        attack, start = self.attacks[name], time.perf_counter()
        found = craft_batches(
            attack, self.model, self.key, images, labels,
            batch_size=BATCH // jax.local_device_count(), chunk_steps=10,
            crafter=self.crafter,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        steps, one = found.steps_used, passes_of(attack)
        batches = [steps[i : i + BATCH] for i in range(0, len(steps), BATCH)]
        self.passes[name] = one * np.sum(steps)
        self.by_batch[name] = one * sum(len(b) * np.max(b) for b in batches)
        return ~np.asarray(found.success), seconds

    def standard(self, images, labels):
        """(survivors [n], seconds) of the cascade; notes the passes."""
        left, seconds = np.ones(len(images), bool), 0.0
        self.passes, self.by_batch = {}, {}
        for name in self.attacks:
            rows = np.flatnonzero(left)
            if len(rows):
                left[rows], more = self(name, images[rows], labels[rows])
                seconds += more
        return left, seconds

    def most_passes(self):
        """Passes of one image on which no attack ever stops."""
        attacks = self.attacks.values()
        return sum(passes_of(a) * a.steps * a.restarts for a in attacks)


class Authors:
    """The package of AutoAttack's authors."""

    def __init__(self, module, eps, seed):
        self.module, self.eps, self.seed = module, eps, seed

    def __call__(self, name, images, labels):
        return self._run(images, labels, version="custom", attacks=[name])

    def standard(self, images, labels):
        return self._run(images, labels, version="standard")

    def _run(self, images, labels, **fields):
        attack = AutoAttack(
            self.module, norm="Linf", eps=self.eps, seed=self.seed, **fields
        )
        attack.apgd.n_restarts = attack.fab.n_restarts = 1  # as in `standard`
        start = time.perf_counter()
        found, _ = attack.run_standard_evaluation(images, labels, batch_size=BATCH)
        seconds = time.perf_counter() - start
        return judged(self.module, found, labels), seconds


class Torchattacks:
    """Of a network whose components it builds one by one."""

    def __init__(self, module, eps, seed):
        self.module = module
        targeted = {"eps": eps, "steps": STEPS, "n_classes": TARGETS + 1, "seed": seed}
        self.attacks = {
            "apgd-ce": torchattacks.APGD(module, eps=eps, steps=STEPS, seed=seed),
            "apgd-t": torchattacks.APGDT(module, **targeted),
            "fab-t": torchattacks.FAB(module, multi_targeted=True, **targeted),
            "square": torchattacks.Square(
                module, eps=eps, n_queries=QUERIES, seed=seed
            ),
            "standard": torchattacks.AutoAttack(
                module, eps=eps, n_classes=10, seed=seed
            ),
        }

    def __call__(self, name, images, labels):
        start = time.perf_counter()
        found = torch.cat(
            [
                self.attacks[name](images[i : i + BATCH], labels[i : i + BATCH])
                for i in range(0, len(images), BATCH)
            ]
        )
        seconds = time.perf_counter() - start
        return judged(self.module, found, labels), seconds

    def standard(self, images, labels):
        return self("standard", images, labels)


PEERS = {"authors": Authors, "torchattacks": Torchattacks}


def judged(module, images, labels):
    with torch.no_grad():
        return (module(images).argmax(1) == labels).numpy()


def load(folder, examples):
    """(our model, the same in torch, images and labels that it gets right)."""
    model, config, _ = checkpoints.load_classifier(folder, "best")
    mean, std = float(config.normalize.mean[0]), float(config.normalize.std[0])
    module = carry_over(model.variables, LeNetV2(mean, std))
    source = sources.load(config.data.name, "test", config.data.data_dir)
    rows = source.get(np.arange(examples))
    images = np.asarray(rows["image"], np.float32) / 255
    labels = np.asarray(rows["label"], np.int32)
    right = np.asarray(jax.jit(jax.vmap(model))(images)).argmax(1) == labels
    return model, module, images[right], labels[right]


def columns(sides):
    """(survivors, seconds) of all components, one pair for each side."""
    return [tuple(zip(*column, strict=True)) for column in zip(*sides, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="folder of the run that is attacked")
    parser.add_argument("--eps", type=float, default=0.15)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of all sides")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["authors"])
    parser.add_argument(
        "--only", nargs="+", help="components; default: all, then whole"
    )
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    jax.config.update("jax_num_cpu_devices", torch.get_num_threads())
    model, module, images, labels = load(args.run, args.examples)
    pixels = torch.tensor(images.transpose(0, 3, 1, 2).copy())
    classes = torch.tensor(labels, dtype=torch.long)
    ours = Ours(model, args.eps, args.seed)
    ours.prepare(images, labels)
    peers = {name: PEERS[name](module, args.eps, args.seed) for name in args.peers}
    lines = []

    def note(name, left, seconds, passes, found):
        cells = [f"{100 * np.sum(left) / args.examples:.1f}", f"{seconds:.1f}"]
        cells.append(f"{passes / len(images):.0f}")
        for other, spent in found:
            cells.append(f"{100 * np.sum(other) / args.examples:.1f}")
            cells.append(f"{spent:.1f} ({spent / seconds:.2f} x)")
        lines.append([name, *cells])
        print(" ".join(lines[-1]), file=sys.stderr, flush=True)

    sides, names = [], args.only or list(ours.attacks)
    for name in names:
        sides.append([ours(name, images, labels)])
        sides[-1] += [peer(name, pixels, classes) for peer in peers.values()]
        note(name, *sides[-1][0], ours.passes[name], sides[-1][1:])
    union = [(np.all(lefts, 0), sum(spent)) for lefts, spent in columns(sides)]
    note("union", *union[0], sum(ours.passes[name] for name in names), union[1:])
    if not args.only:
        left, seconds = ours.standard(images, labels)
        found = [peer.standard(pixels, classes) for peer in peers.values()]
        note("standard", left, seconds, sum(ours.passes.values()), found)
    head = ["component", "ours, %", "seconds", "passes/image"]
    for name in peers:
        head += [f"{name}, %", "seconds"]
    print(f"robust accuracy, {args.examples} images, linf eps {args.eps}")
    table(head, lines)
    if not args.only:
        used = sum(ours.passes.values()) / len(images)
        slowest = sum(ours.by_batch.values()) / len(images)
        print(
            f"passes per image of standard: {used:.0f}; {slowest:.0f} if each batch "
            f"of {BATCH} waited for its slowest image; {ours.most_passes()} if no "
            "image ever stopped"
        )


if __name__ == "__main__":
    main()
