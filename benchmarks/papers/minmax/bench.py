"""Networks of the min-max benchmarks, their test images, and attacks kept on disk."""

import subprocess
import sys
import time

import jax
import numpy as np

from benchmarks.papers.minmax.numbers import DATA
from jaxadv import checkpoints
from jaxadv.craft import Crafter, craft_batches, craft_traced
from jaxadv.data import sources
from jaxadv.evaluation.judging import inputs
from jaxadv.evaluation.metrics import domains
from jaxadv.objectives.domains import groups
from jaxadv.specs import UsageError

# Fashion-MNIST's networks are trained as MNIST's.
FILES = {data: f"configs/minmax/{data}_minmax.py" for data in DATA}
FILES["fashion_mnist"] = FILES["mnist"]
CHUNK = 25  # images at a time


class Bench:
    """Networks, test images, and the cells that are computed once.

    Attributes:
      paper: what the paper does with images of this kind.
    """

    def __init__(self, args):
        self.args, self.runs = args, args.runs / args.data
        self.paper, self.seeds = DATA[args.data], args.seeds
        self.folder, self.seconds = self.runs / "attacks" / args.keep, 0.0
        self.crafter, self._models = Crafter(), {}
        source = sources.load(args.data, "test")
        default = 200 if args.data == "mnist5k" else len(source)
        rows = source.get(np.arange(args.examples or default))
        self.images = np.asarray(rows["image"], np.float32) / 255
        self.labels = np.asarray(rows["label"], np.int32)

    def model(self, name):
        """A network, trained or found."""
        if name not in self._models:
            self._models[name] = self._network(name)
        return self._models[name]

    def models(self, names):
        """name -> network, of those that were asked for.

        Raises:
          UsageError: none of them was.
        """
        asked = self.args.networks or names
        found = {name: self.model(name) for name in names if name in asked}
        if not found:
            raise UsageError(f"--networks: this one has {', '.join(names)}")
        return found

    def predictions(self, model, images=None):
        """The classes of the test images, or of others."""
        return np.argmax(_logits(model, self.images if images is None else images), -1)

    def rates(self, name, attack, model, size=None):
        """[seeds, K + 2]: accuracies, ASR_all and ASR_avg, all in percent."""
        found = []
        for seed in self.seeds:
            broken = self._cell(f"{name}_s{seed}", attack, model, size, seed)
            parts = [*domains.accuracies(broken), domains.asr_all(broken)]
            found.append([*parts, domains.asr_avg(broken)])
        return 100 * np.array(found)

    def settled(self, name, attack, models):
        """[K] the weights that min-max ends with, mean of all images and seeds."""
        found = []
        for seed in self.seeds:
            path = self._path(f"{name}_weights_s{seed}", attack, models)
            if not path.exists():
                start, key = time.monotonic(), jax.random.key(seed)
                history = histories(attack, models, self.images, self.labels, key)
                seconds = time.monotonic() - start
                _write(path, weights=history[:, -1].mean(0), seconds=seconds)
            kept = np.load(path)
            self.seconds += float(kept["seconds"])
            found.append(kept["weights"])
        return np.mean(found, axis=0)

    def _path(self, name, attack, model):
        code = inputs.digest(model)
        code.update(repr(attack).encode())
        code = code.hexdigest()[:10]
        return self.folder / f"{name}_n{len(self.images)}_{code}.npz"

    def _cell(self, name, attack, model, size, seed):
        attack = attack.replace(keep=self.args.keep)
        path = self._path(name, attack, model)
        if not path.exists():
            start = time.monotonic()
            rows = np.arange(len(self.images))
            if size:
                rows = groups(self.labels, size, seed)
            key, labels = jax.random.key(seed), self.labels[rows]
            adv = craft_batches(
                attack, model, key, self.images[rows], labels,
                batch_size=CHUNK, crafter=self.crafter,
            )  # fmt: skip
            broken = domains.broken(attack.objective, model, key, adv.image, labels)
            seconds = time.monotonic() - start
            _write(path, broken=broken, seconds=seconds)
            rate = 100 * domains.asr_all(broken)
            print(f"{name}: {rate:.1f} % in {seconds:.0f} s", file=sys.stderr)
        found = np.load(path)
        self.seconds += float(found["seconds"])
        return found["broken"]

    def _network(self, name):
        # train.py goes on with a run that was stopped and leaves a finished one alone.
        args = self.args
        command = [
            sys.executable, "train.py", f"--config={FILES[args.data]}:{name}",
            f"--workdir={self.runs / name}", f"--config.data.name={args.data}",
        ]  # fmt: skip
        if args.epochs:
            command.append(f"--config.epochs={args.epochs}")
        subprocess.run(command, check=True, stdout=sys.stderr)
        return checkpoints.load_classifier(self.runs / name, "last")[0]


def _write(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial_{path.name}")
    np.savez(partial, **arrays)
    partial.replace(path)  # a killed run leaves no half-written cell


def histories(attack, model, images, labels, key):
    """[n, steps + 1, K] the weights on the way."""
    search = jax.jit(craft_traced)
    found = []
    for start in range(0, len(images), CHUNK):
        rows = np.arange(start, start + CHUNK) % len(images)
        some = search(attack, model, key, images[rows], labels[rows], ids=rows)
        found.append(some[1])
    return np.concatenate(found)[: len(images)]


@jax.jit
def _logits(model, images):
    return jax.vmap(model)(images)
