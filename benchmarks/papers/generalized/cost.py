"""A step of generalized adversarial training beside the passes that it counts.

python -m benchmarks.papers.generalized.cost [--models mlp lenet]
    [--batch=128] [--rounds=15]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.papers.generalized.tables import LINF
from benchmarks.timing import alternate, ratio, table
from jaxadv import parallel
from jaxadv.attacks import Ascent
from jaxadv.defenses import Generalized
from jaxadv.defenses.base import Network, cross_entropies
from jaxadv.models import MODELS
from jaxadv.threats import L2, Linf
from jaxadv.training import state as train_state
from jaxadv.training.optim import Optimizer


def cost(args):
    """The step beside its K * R input gradients and one pass in train mode.

    And beside these with the threats' own directions and projections, which any PGD
    in the same balls pays for.
    """
    device = jax.devices()[0].device_kind
    print(f"step / counted passes, batch {args.batch}, 2 types, 10 steps, {device}, "
          f"jax {jax.__version__}: median (quartiles)")  # fmt: skip
    header = ["network", "weighting", "step", "step / passes", "with the projections"]
    table(header, [
        _cost(model, weighting, args)
        for model in args.models for weighting in ("average", "min_max")
    ])  # fmt: skip


def _cost(name, weighting, args):
    steps, types, n = 10, 2, args.batch
    attacks = [Ascent(threat, steps=steps, rel_step_size=0.2, keep="last")
               for threat in (Linf(LINF), L2(2.0))]  # fmt: skip
    defense = Generalized(tuple(attacks), weighting=weighting)
    network = Network(MODELS[name]())
    state = train_state.create_state(
        network, defense.init((28, 28, 1), n), Optimizer(kind="adam").make(1e-3),
        seed=0, image_shape=(28, 28, 1),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.random((n, 28, 28, 1), np.float32),
        "label": rng.integers(0, 10, n).astype(np.int32),
        "id": np.arange(n, dtype=np.int32),
    }
    state = jax.device_put(state)
    model = network.classifier(state.params, state.batch_stats)
    key, rows = jax.random.key(0), jax.tree.map(lambda x: jnp.asarray(x)[None], batch)
    many = {k: jnp.concatenate([v] * (types + 1)) for k, v in batch.items()}
    twice = {k: v[: types * n] for k, v in many.items()}

    def step(defense, state, batch):
        return jax.grad(lambda p: defense.loss(p, state, batch, key)[0])(state.params)

    def value(model, image, label):
        return cross_entropies(model(image)[None], label[None])[0]

    def mean(params, batch):
        logits, _ = network.train(params, {}, batch["image"], key)
        return jnp.mean(cross_entropies(logits, batch["label"]))

    run_step = jax.jit(jax.vmap(step, (None, None, 0), axis_name=parallel.AXIS))
    inner = jax.jit(jax.vmap(jax.grad(value, 1), (None, 0, 0)))
    outer = jax.jit(jax.grad(mean))
    points = jnp.asarray(rng.normal(0, 0.2, (n, 28, 28, 1)), jnp.float32)

    def move(threat, point, image):
        return threat.project(point + threat.direction(point, point, image), image)

    moves = jax.jit(jax.vmap(lambda *a: [move(t.threat, *a) for t in attacks]))
    calls = {
        "moves": lambda: moves(points, rows["image"][0]),
        "step": lambda: run_step(defense, state, rows),
        "inner": lambda: inner(model, twice["image"], twice["label"]),
        "outer": lambda: outer(state.params, many),
    }
    seconds = alternate(
        {k: lambda run=run: jax.block_until_ready(run()) for k, run in calls.items()},
        args.rounds,
    )
    passes = steps * seconds["inner"] + seconds["outer"]
    with_moves = passes + steps * seconds["moves"]
    whole = seconds["step"]
    return [name, weighting, f"{1e3 * np.median(whole):.0f} ms",
            ratio(whole, passes), ratio(whole, with_moves)]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["mlp", "lenet"])
    parser.add_argument("--batch", type=int, default=128, help="images")
    parser.add_argument("--rounds", type=int, default=15)
    cost(parser.parse_args())


if __name__ == "__main__":
    main()
