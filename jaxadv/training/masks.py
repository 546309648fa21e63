"""The command `jaxadv masks`: predicted foregrounds for a prepared data set.

jaxadv masks stl10 --network=runs/saliency.safetensors
jaxadv masks stl10 --densities=deepgaze.npz
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from jaxadv import console
from jaxadv.data import batches, catalog, masks, records, sources
from jaxadv.files import checksums
from jaxadv.perceptual import saliency
from jaxadv.specs import UsageError

ABOUT = """\
Stores a foreground mask for each image of a prepared data set: where the share of looks
is above the threshold. From then on the set has masks, in training, validation and
evaluation. The looks are those of a saliency network of jaxadv, or log-densities in an
.npz file with an array [n, h, w] for each split, as DeepGaze computes them.
"""
_BATCH = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status is 2 for a user's mistake."""
    parser = console.Parser(prog="jaxadv masks", description=ABOUT)
    parser.add_argument("name", metavar="NAME", help="of a prepared data set")
    parser.add_argument("--data_dir", help="where prepared sets lie")
    parser.add_argument("--network", metavar="FILE", help="of `jaxadv saliency`")
    parser.add_argument("--densities", metavar="FILE.npz", help="log-densities")
    parser.add_argument(
        "--threshold", type=float, help="in units of the mean share (default: 1)"
    )
    flags = parser.parse_args(arguments)

    def work():
        for line in predict(
            flags.name, flags.data_dir, flags.network, flags.densities, flags.threshold
        ):
            print(line, flush=True)

    return console.conclude(work, "the same command begins anew")


def predict(
    name: str,
    data_dir: str | None = None,
    network: str | None = None,
    densities: str | None = None,
    threshold: float | None = None,
) -> Iterator[str]:
    """Stores the masks of every split; yields a line for each.

    Args:
      name: of a prepared set.
      data_dir: where it lies; see `catalog.root`.
      network: file of a saliency network; this or `densities` is given.
      densities: .npz file with log-densities [n, h, w] for each split.
      threshold: see `masks.of_densities`.

    Raises:
      UsageError: both or neither are given, or something does not fit the set.
    """
    if (network is None) == (densities is None):
        raise UsageError("give one of --network and --densities")
    folder = catalog.find(name, catalog.root(data_dir))
    if folder is None:
        raise UsageError(f"{name} is not prepared; run jaxadv prepare {name} first")
    path = Path(network or densities or "")
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}")
    looks = saliency.load(str(path)) if network else None
    about = {"file": path.name, "file_checksum": checksums.checksum_file(path)}
    about["threshold"] = 1.0 if threshold is None else threshold
    for split in records.splits(folder):
        source = sources.load(name, split, data_dir)
        if "mask" in source.get(np.arange(1)) and masks.known(folder, split) is None:
            raise UsageError(f"{name} has masks of its own")
        if source.varying:
            raise UsageError(f"{name}: its images vary in size; masks need one size")
        if looks is not None:
            found = _looks(looks, source, split)
        else:
            shape = (len(source), *source.image_shape[:2])
            found = masks.densities(path, split, shape)
        if found is None:
            yield f"{split}: {path} has no densities"
            continue
        made = masks.of_densities(found, threshold)
        masks.store(folder, split, made, about)
        yield f"{split}: {len(made)} masks, foreground {100 * made.mean():.1f} %"


def _looks(network, source, split):
    """Log-densities [n, h, w] of a split."""
    run, parts = jax.jit(jax.vmap(network)), []
    for start in tqdm(range(0, len(source), _BATCH), f"masks of {split}", disable=None):
        ids = np.minimum(np.arange(start, start + _BATCH), len(source) - 1)
        parts.append(np.asarray(run(batches.to_float(source.get(ids)["image"]))))
    return np.concatenate(parts)[: len(source)]


if __name__ == "__main__":
    sys.exit(main())
