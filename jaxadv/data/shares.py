"""Two sources in every batch, in fixed shares.

Sehwag et al., "Robust learning meets generative models: can proxy distributions improve
adversarial robustness?" (2022), and Gowal et al., "Improving robustness using generated
data" (2021): images of a generative model beside those of the data set.
"""

import functools
from collections.abc import Iterator

import numpy as np

from jaxadv import specs
from jaxadv.data import batches
from jaxadv.data.sources import Source


def pattern(batch_size: int, share: float) -> np.ndarray:
    """Which rows of a batch are of the second source, bool [batch_size], evenly spread.

    A part of the batch, as that of a device, has the share up to one row.

    Raises:
      UsageError: none or all of them would be.
    """
    count = round(share * batch_size)
    if not 0 < count < batch_size:
        raise specs.UsageError(
            f"config.data.extra_share is {share}: {count} images of a batch of "
            f"{batch_size}; at least one of each source is needed"
        )
    edges = np.arange(batch_size + 1) * count // batch_size
    return np.diff(edges) > 0


def train_batches(
    source: Source,
    extra: Source,
    share: float,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    *,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[batches.Batch]:
    """Endless batches as `batches.train_batches`, a share of them of `extra`.

    Each source goes through permutations of its own, one after the other, which depend
    on the seed alone; what fills no part of a batch is left out. Ids of `extra` begin
    behind those of `source`.

    Args:
      source: n training examples.
      extra: m further ones of the same shape and classes.
      share: of each batch, rounded to whole images.
      batch_size: of all processes together.
      seed: chooses the orders.
      start_step: the first step, 0 in a new run.
      process_index: this process; it gets one contiguous slice of each batch.
      process_count: the number of processes.

    Raises:
      UsageError: as `pattern`; a part is larger than its source; or the batch is not
        divisible by the processes.
    """
    second = pattern(batch_size, share)
    counts = int(np.sum(~second)), int(np.sum(second))
    local = batches.local_size(batch_size, process_count)
    mine = slice(process_index * local, (process_index + 1) * local)
    for one, count in zip((source, extra), counts, strict=True):
        batches.steps_per_epoch(one, count)

    def made():
        step = start_step
        while True:
            ids = np.zeros(batch_size, np.int32)
            for number, (one, count) in enumerate(
                zip((source, extra), counts, strict=True)
            ):
                epoch, index = divmod(step, len(one) // count)
                order = _order(len(one), seed, epoch, number)
                ids[second == number] = order[index * count : (index + 1) * count]
            yield _read(source, extra, ids[mine], second[mine], (seed, step))
            step += 1

    return batches.prefetch(made())


def _read(source, extra, ids, second, draw):
    """The rows of both, each in its place."""
    parts = [
        (rows, first, one.get(ids[rows], draw=draw))
        for one, rows, first in ((source, ~second, 0), (extra, second, len(source)))
    ]
    if len({part["image"].dtype for _, _, part in parts}) > 1:
        for _, _, part in parts:
            part["image"] = batches.to_float(part["image"])
    ids = ids.copy()
    found: batches.Batch = {"id": ids}
    for rows, first, part in parts:
        ids[rows] += first
        for name, values in part.items():
            empty = np.zeros((len(ids), *values.shape[1:]), values.dtype)
            found.setdefault(name, empty)[rows] = values
    return found


@functools.lru_cache(maxsize=4)
def _order(n, seed, epoch, number):
    """A permutation of n; millions of numbers are not drawn again for each step."""
    return np.random.default_rng((seed, epoch, number)).permutation(n)
