"""Batches of a source, seeded and stateless.

What a training step sees is a function of (seed, step): a run resumed at a step
goes on exactly as one that was never interrupted, without replaying batches and
without a state to save. `batch_size` is always that of all processes together.
"""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxadv import specs
from jaxadv.data.sources import Source

Batch = dict[str, np.ndarray]
_END = object()


def to_float(image: np.ndarray | jax.Array) -> Any:
    """Images as float32 in [0, 1]: uint8 is divided by 255, floats stay.

    For NumPy arrays on the host and for (traced) arrays on a device, any shape; the
    quotients are correctly rounded in both, hence equal.
    """
    image, is_bytes = image.astype(np.float32), image.dtype == np.uint8
    if not is_bytes:
        return image
    # Compilers turn `image / 255` into a product with the rounded inverse, which
    # is off in the last bit. Of this sum the first term is exact.
    return image * np.float32(257 / 65536) + image * np.float32(1 / 255 / 65536)


def steps_per_epoch(source: Source, batch_size: int) -> int:
    """Full batches in an epoch; step s belongs to epoch s // steps_per_epoch.

    Raises:
      specs.UsageError: the batch is larger than the source.
    """
    if not 0 < batch_size <= len(source):
        raise specs.UsageError(
            f"batch_size is {batch_size}; {source.name} {source.split} has "
            f"{len(source)} examples, so it must be within 1..{len(source)}"
        )
    return len(source) // batch_size


def train_batches(
    source: Source,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    *,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Endless shuffled batches, from step `start_step` on.

    Step s is batch s % k of epoch s // k, where k = n // batch_size. The order of
    an epoch is a permutation drawn from (seed, epoch); what fills no batch is left
    out of that epoch. A thread fetches ahead; it ends when the iterator is closed
    or collected, or fails.

    Args:
      source: n training examples.
      batch_size: of all processes together.
      seed: chooses the order, and the crops of larger stored images.
      start_step: the first step, 0 in a new run.
      process_index: this process; it gets one contiguous slice of each batch.
      process_count: the number of processes.

    Returns:
      An iterator of `image` [b, h, w, c] as stored (see `to_float`), `label` int32
      [b], `id` int32 [b], the positions in `source`, and `mask` uint8 [b, h, w, 1]
      where the source has it; b = batch_size / process_count.

    Raises:
      specs.UsageError: the batch is larger than the source or not divisible, or
        the seed or the first step is negative.
    """
    per_epoch = steps_per_epoch(source, batch_size)
    local = local_size(batch_size, process_count)
    for name, value in (("seed", seed), ("start_step", start_step)):
        if value < 0:
            raise specs.UsageError(f"{name} is {value}; it must be >= 0")

    def batches():
        epoch, first = divmod(start_step, per_epoch)
        while True:
            order = np.random.default_rng((seed, epoch)).permutation(len(source))
            for index in range(first, per_epoch):
                start = index * batch_size + process_index * local
                ids = order[start : start + local].astype(np.int32)
                yield {**source.get(ids, draw=(seed, epoch)), "id": ids}
            epoch, first = epoch + 1, 0

    return prefetch(batches())


def eval_batches(
    source: Source,
    ids,
    batch_size: int,
    *,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """The examples `ids` once, in order, in batches of one shape.

    The last batches are filled up with copies of the first example that have id -1
    and `valid` False. Every process gets the same number of batches.

    Args:
      source: the examples.
      ids: integers [n], positions in `source`.
      batch_size: of all processes together.
      process_index: this process; it gets one contiguous part of `ids`.
      process_count: the number of processes.

    Returns:
      An iterator of batches as `train_batches` gives them, with crops taken from
      the center, and `valid` bool [b].

    Raises:
      specs.UsageError: the batch is not positive, or not divisible.
    """
    local = local_size(batch_size, process_count)
    ids = np.asarray(ids, np.int32)
    mine = np.array_split(ids, process_count)[process_index]
    longest = -(-len(ids) // process_count)
    padded = np.full(-(-longest // local) * local, -1, np.int32)
    padded[: len(mine)] = mine

    def batches():
        for part in padded.reshape(-1, local):
            valid = part >= 0
            batch = source.get(np.where(valid, part, ids[0]))
            yield {**batch, "id": part, "valid": valid}

    return prefetch(batches())


def local_size(batch_size: int, process_count: int) -> int:
    """The images of a batch that one process gets.

    Raises:
      specs.UsageError: they are none, or not the same for all.
    """
    if batch_size <= 0 or batch_size % process_count:
        raise specs.UsageError(
            f"batch_size is {batch_size}; it must be a positive multiple of the "
            f"{process_count} processes"
        )
    return batch_size // process_count


def prefetch(items: Iterable[Any], depth: int = 2) -> Iterator[Any]:
    """The same items, up to `depth` of them made ahead by a thread.

    What the items raise is raised here in turn. The thread starts with the first
    item asked for and has ended when this is exhausted, closed or collected.
    """
    ready: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(item) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                pass

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if stopped.is_set():
                    return
            put((_END, None))
        except BaseException as error:  # handed to the consumer
            put((_END, error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        with ready.mutex:
            ready.queue.clear()
            ready.not_full.notify()
        if thread is not threading.current_thread():  # the collector runs anywhere
            thread.join()
