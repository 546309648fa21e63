"""Evaluations of the few-pixel attack beside bare forward passes.

python -m benchmarks.papers.learn2perturb.cost [--images=4] [--rounds=7]

A generation of 400 candidates for each image, and as many forward passes of the network
in batches of the same size. The steps of training stand in
`benchmarks.papers.lagrangian.cost`.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import alternate, ratio
from jaxadv.attacks import FewPixel
from jaxadv.classifier import Classifier
from jaxadv.models import MODELS
from jaxadv.threats import L0

SHAPE, CLASSES = (32, 32, 3), 10


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=4, help="attacked together")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    module = MODELS["resnet20"](num_classes=CLASSES)
    images = np.random.default_rng(0).random((args.images, *SHAPE), np.float32)
    variables = jax.jit(module.init)(jax.random.key(0), images)
    model = Classifier.from_linen(module, variables)
    attack = FewPixel(L0(3, pixels=True))
    labels = jnp.zeros(args.images, int)
    keys = jax.random.split(jax.random.key(0), args.images)

    @jax.jit
    def generation(model, keys, images, labels):
        def one(key, image, label):
            state = attack.init(key, model, image, label)
            return attack.step(state, model, image, label).best

        return jax.vmap(one)(keys, images, labels)

    @jax.jit
    def bare(model, images):
        return jax.vmap(model)(images)

    batch = jnp.asarray(np.repeat(images, attack.chunk, 0))
    calls = attack.population // attack.chunk

    def passes():
        for _ in range(calls):
            jax.block_until_ready(bare(model, batch))

    def attacked():
        jax.block_until_ready(generation(model, keys, images, labels))

    seconds = alternate({"attack": attacked, "bare": passes}, args.rounds)
    number = args.images * attack.population
    device = jax.devices()[0].device_kind
    print(
        f"ResNet-20, 32x32x3, {args.images} images, {device}, jax {jax.__version__}: "
        f"median (quartiles) of {args.rounds} rounds"
    )
    print(
        f"evaluations a second: {number / np.median(seconds['attack']):.0f}, of bare "
        f"forward passes {number / np.median(seconds['bare']):.0f}; ratio "
        f"{ratio(seconds['bare'], seconds['attack'])}"
    )


if __name__ == "__main__":
    main()
