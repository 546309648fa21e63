"""What the perceptual attacks cost, in passes of the network and in memory.

python -m benchmarks.speed.perceptual [--batch=64] [--rounds=9]
"""

import argparse

import jax
import numpy as np

from benchmarks.networks import NETWORKS, build
from benchmarks.timing import alternate, ratio, table
from jaxadv.attacks import Ascent, FastLpa, Ppgd
from jaxadv.craft import craft
from jaxadv.objectives import Margin
from jaxadv.perceptual import Lpips
from jaxadv.protocols import bind
from jaxadv.threats import Linf, LpipsBall

STEPS = 10
PPGD = Ppgd(LpipsBall(0.5), steps=STEPS, early_stop=False)


def phi(model, images, labels):
    """One forward pass of all images, to the last tap."""
    return jax.vmap(Lpips(model).embed)(images)


def gradient(model, images, labels):
    """The input gradients of the margin, and nothing else."""

    def loss(image, label):
        return Margin()(model, image, label)

    return jax.vmap(jax.grad(loss))(images, labels)


def distance_gradient(model, images, labels):
    """The input gradients of the distance to a fixed point."""

    def loss(image):
        return Lpips(model).between(Lpips(model).embed(image), 0.0)

    return jax.vmap(jax.grad(loss))(images)


def ppgd_step(model, images, labels):
    """One step of PPGD from the image, the distance's own reference included."""

    def one(image, label):
        threat = bind(PPGD.threat, model, image, label, None)
        own = PPGD.replace(threat=threat)
        state = own.init(jax.random.key(0), model, image, label)
        start = 0.02 * (0.5 - image)
        return own.step(state.replace(params=start), model, image, label).params

    return jax.vmap(one)(images, labels)


def call(function, *arguments):
    """A call of the compiled function that waits for its result."""
    compiled, held = jax.jit(function), jax.device_put(arguments)
    return lambda: jax.block_until_ready(compiled(*held))


def cost(name, batch, rounds):
    """A row of ratios: PPGD's step over its counted passes, Fast-LPA over PGD."""
    model, images, labels = build(name, batch)
    key = jax.random.key(0)
    fast = FastLpa(LpipsBall(0.5), steps=STEPS)
    pgd = Ascent(Linf(8 / 255), Margin(), STEPS, rel_step_size=0.25)
    contenders = {
        function.__name__: call(function, model, images, labels)
        for function in (phi, gradient, distance_gradient, ppgd_step)
    }
    contenders["fast_lpa"] = call(craft, fast, model, key, images, labels)
    contenders["pgd"] = call(craft, pgd, model, key, images, labels)
    seconds = alternate(contenders, rounds)
    threat = PPGD.threat
    # phi of the image and of the point, two products for each conjugate gradient,
    # one for the length; then the bisection's, which looks at the end as well.
    forward = 3 + 2 * threat.cg_steps + threat.bisection_steps + 1
    counted = (
        forward * seconds["phi"]
        + seconds["gradient"]
        + threat.newton_steps * seconds["distance_gradient"]
    )
    return [
        name,
        f"{1e3 * np.median(seconds['phi']):.0f} ms",
        ratio(seconds["ppgd_step"], counted),
        ratio(seconds["fast_lpa"], seconds["pgd"]),
    ]


def memory(name, batch):
    """A row of peak temporary memory, in MB, of the distance's gradient."""
    model, images, _ = build(name, batch)
    metric = Lpips(model)
    saving = jax.checkpoint_policies.dots_saveable

    def megabytes(embed):
        def distance(image):
            return metric.between(embed(image), 0.0)

        run = jax.jit(jax.vmap(jax.grad(distance)))
        used = run.lower(images).compile().memory_analysis()
        return f"{used.temp_size_in_bytes / 1e6:.1f}"

    remade = jax.checkpoint(metric.embed, policy=saving)
    return [name, megabytes(metric.embed), megabytes(remade)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64, help="images at a time")
    parser.add_argument("--rounds", type=int, default=9, help="timed repetitions")
    args = parser.parse_args()
    device = jax.devices()[0].device_kind
    print(f"batch {args.batch}, {device}, jax {jax.__version__}: median (quartiles)")
    rows = [cost(name, args.batch, args.rounds) for name in NETWORKS]
    table(["network", "phi", "PPGD step / passes", "Fast-LPA-10 / PGD-10"], rows)
    print("temporary memory of the distance's gradient, MB")
    rows = [memory(name, args.batch) for name in NETWORKS]
    table(["network", "as it is", "dots_saveable"], rows)


if __name__ == "__main__":
    main()
