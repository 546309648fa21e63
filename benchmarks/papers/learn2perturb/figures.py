"""How the noise evolves in training, and accuracy against eps: figures in small.

python -m benchmarks.papers.learn2perturb.figures RUNS --figure noise|eps
    [--data=shapes] [--seeds 0 1 2] [--methods vanilla l2p …] [--examples=200]
    [--train …]

  noise  the mean of what Learn2Perturb learns of its noise, over the epochs (the
         supplement's figure 1); it is of this method, whatever --methods says
  eps    accuracy under PGD over 16 draws and FGSM against eps (figures 2 and 3)

Pictures go to RUNS/pictures. The paper's are of CIFAR-10 and CIFAR-100, and are not
repeated here. Source: Jeddi et al., "Learn2Perturb", 2020, supplement.
"""

import json
from pathlib import Path

import jax
import numpy as np

from benchmarks.papers.dual.measures import attacked
from benchmarks.papers.lagrangian.networks import load
from benchmarks.papers.learn2perturb.networks import METHODS, arguments, trained
from jaxadv.attacks import Ascent, Fgsm
from jaxadv.evaluation.report.charts import COLORS, MARKERS
from jaxadv.evaluation.report.plots import pyplot, write
from jaxadv.objectives import CrossEntropy, Expectation
from jaxadv.threats import Linf

LEVELS = (0, 1, 2, 4, 8, 16)  # of 255


def noise(args, folder):
    """A line a seed: the mean deviation at each logged step."""
    figure, axes = pyplot().subplots(figsize=(6.4, 4.2), layout="constrained")
    runs = trained("l2p", args.seeds, args.runs, args.data, args.flags)
    for k, (seed, run) in enumerate(zip(args.seeds, runs, strict=True)):
        steps, values = evolution(run)
        axes.plot(steps, values, color=COLORS[k % len(COLORS)], label=f"seed {seed}")
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean deviation of the noise")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    write(figure, folder / "noise.png")


def evolution(run: Path) -> tuple[list[float], list[float]]:
    """Epochs and mean deviations that a training has logged."""
    lines = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    found = [x for x in lines if x["kind"] == "epoch" and "train_noise" in x]
    return [line["epoch"] for line in found], [line["train_noise"] for line in found]


def eps(args, folder):
    """A panel an attack, a line a method: means over the seeds."""
    plt = pyplot()
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 4.0), layout="constrained")
    for k, method in enumerate(args.methods):
        runs = trained(method, args.seeds, args.runs, args.data, args.flags)
        found = np.mean([over_eps(run, args.examples) for run in runs], axis=0)
        for axes, values in zip(panels, found, strict=True):
            axes.plot(
                LEVELS, 100 * values, color=COLORS[k], marker=MARKERS[k],
                label=METHODS[method],
            )  # fmt: skip
    for axes, title in zip(panels, ("PGD, 7 steps", "FGSM"), strict=True):
        axes.set_title(f"{title}, gradients over 16 draws", fontsize=11)
        axes.set_xlabel("eps of 255")
        axes.set_ylabel("accuracy (%)")
        axes.set_ylim(0, 102)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    write(figure, folder / "eps.png")


def over_eps(run: Path, examples: int) -> list[list[float]]:
    """[attack][eps] accuracies, of one draw that the attack has not seen."""
    model, data = load(run, examples)
    mean, found = Expectation(CrossEntropy()), []
    for make in (
        lambda ball: Ascent(ball, mean, steps=7, rel_step_size=0.01 * 255 / 8),
        lambda ball: Fgsm(ball, mean),
    ):
        row = []
        for level in LEVELS:
            attack = make(Linf(level / 255))
            images = attacked(attack, model, data, batch_size=100).image
            row.append(_judged(model, images, data))
        found.append(row)
    return found


def _judged(model, images, data):
    keys = jax.vmap(jax.random.key)(data.ids + 10**6)
    logits = jax.jit(jax.vmap(model))(images, jax.random.key_data(keys))
    return float(np.mean(np.argmax(logits, -1) == data.labels))


FIGURES = {one.__name__: one for one in (noise, eps)}


def main():
    parser = arguments(__doc__, "figure", FIGURES)
    parser.add_argument("--examples", type=int, default=200, help="test images")
    args = parser.parse_args()
    folder = args.runs / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    FIGURES[args.figure](args, folder)
    print(folder)


if __name__ == "__main__":
    main()
