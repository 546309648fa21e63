"""AutoAttack's components beside torchattacks', on one trained LeNetV2.

python -m benchmarks.autoattack RUN [--examples=200] [--queries=5000]

RUN is the folder of a training run of `lenet_v2` on `mnist5k`. Every component attacks
all the images that are correct without it: robust accuracy and seconds of each side.
Ours compiles first on a few images.

Needs torch and torchattacks (`make bench` installs them).
"""

import argparse
import time

import jax
import numpy as np
import torch
import torchattacks

from benchmarks.peers import LeNetV2, carry_over
from benchmarks.timing import table
from jaxadv import checkpoints
from jaxadv.attacks import Apgd, Square
from jaxadv.craft import Crafter, craft_batches
from jaxadv.data import sources
from jaxadv.objectives import CrossEntropy, LikelyTarget
from jaxadv.threats import Linf


def components(eps, queries):
    """name -> (our attack, torchattacks' for a module)."""
    threat = Linf(eps)
    return {
        "APGD-CE": (
            Apgd(threat, CrossEntropy(), steps=100),
            lambda net: torchattacks.APGD(net, eps=eps, steps=100),
        ),
        "APGD-T": (
            Apgd(threat, LikelyTarget(), steps=100, restarts=9),
            lambda net: torchattacks.APGDT(net, eps=eps, steps=100, n_classes=10),
        ),
        "Square": (
            Square(threat, steps=queries),
            lambda net: torchattacks.Square(net, eps=eps, n_queries=queries),
        ),
    }


def ours(attack, model, images, labels):
    """(survivors [n], seconds) of our attack, compiled before."""
    crafter, key = Crafter(), jax.random.key(0)
    lanes = 100 // jax.local_device_count()

    def attacked(count):
        return craft_batches(
            attack, model, key, images[:count], labels[:count],
            batch_size=lanes, chunk_steps=10, crafter=crafter,
        )  # fmt: skip

    attacked(1)
    start = time.perf_counter()
    found = attacked(len(images))
    return ~found.success, time.perf_counter() - start


def theirs(make, module, images, labels):
    """(survivors [n], seconds) of torchattacks' attack, judged by the module."""
    attack = make(module)
    images = torch.tensor(images.transpose(0, 3, 1, 2).copy())
    labels = torch.tensor(labels, dtype=torch.long)
    start = time.perf_counter()
    found = attack(images, labels)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        return (module(found).argmax(1) == labels).numpy(), seconds


def percent(survivors, examples):
    return [f"{100 * np.sum(x) / examples:.1f}" for x in survivors]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="folder of the run that is attacked")
    parser.add_argument("--eps", type=float, default=0.15)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--queries", type=int, default=5000, help="of Square")
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    jax.config.update("jax_num_cpu_devices", torch.get_num_threads())
    model, config, _ = checkpoints.load_classifier(args.run, "best")
    mean, std = float(config.normalize.mean[0]), float(config.normalize.std[0])
    module = carry_over(model.variables, LeNetV2(mean, std))
    source = sources.load(config.data.name, "test", config.data.data_dir)
    rows = source.get(np.arange(args.examples))
    images = np.asarray(rows["image"], np.float32) / 255
    labels = np.asarray(rows["label"], np.int32)
    logits = np.asarray(jax.jit(jax.vmap(model))(images))
    correct = logits.argmax(1) == labels
    images, labels = images[correct], labels[correct]
    everyone = [np.ones(len(images), bool)] * 2
    lines = []
    for name, (attack, make) in components(args.eps, args.queries).items():
        left, seconds = ours(attack, model, images, labels)
        peer_left, peer_seconds = theirs(make, module, images, labels)
        everyone = [everyone[0] & left, everyone[1] & peer_left]
        times = f"{seconds:.1f}", f"{peer_seconds:.1f}", f"{peer_seconds / seconds:.2f}"
        lines.append([name, *percent([left, peer_left], args.examples), *times])
    lines.append(["union", *percent(everyone, args.examples), "", "", ""])
    print(f"robust accuracy in %, {args.examples} images, linf eps {args.eps}")
    table(["component", "ours", "peer's", "seconds", "peer's", "ratio"], lines)


if __name__ == "__main__":
    main()
