"""The driver of the host, batch by batch."""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxadv import parallel, preemption, struct
from jaxadv.attacks.base import select
from jaxadv.craft import arguments, base
from jaxadv.craft.base import Adversarial, worst
from jaxadv.craft.journal import Journal
from jaxadv.numerics.loops import repeat


def craft_batches(
    attack: Any,
    model: Any,
    key: jax.Array,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    ids: np.ndarray | None = None,
    per_image: Mapping[str, np.ndarray] | None = None,
    features: Mapping[str, np.ndarray] | None = None,
    batch_size: int = 128,
    chunk_steps: int | None = None,
    journal: Journal | None = None,
    progress: Callable[[int], None] = lambda done: None,
    crafter: "Crafter | None" = None,
) -> Adversarial:
    """Attacks any number of host images, on all of this process's devices.

    An example's result depends on the key, its id and `batch_size` alone: not on
    the other examples, their order, the number of devices, or a resume.

    Args:
      attack: see `jaxadv.attacks`.
      model: a Classifier, or what the attack's objective takes in its place, as a
        tuple of them.
      key: the run's key; an example's own is `fold_in(key, id)`.
      images: [n, h, w, c] float32 in [0, 1], or groups as for `craft`.
      labels: [n] class indices, or [n, k].
      ids: [n] distinct example ids; default 0 … n - 1.
      per_image: as for `craft`, [n, …].
      features: as for `craft`, [n, …].
      batch_size: lanes on each device; the one batch shape that is compiled.
      chunk_steps: attack steps between two looks of the host; it changes no result.
      journal: finished examples are read from it and written to it.
      progress: called with the number of examples that have just been finished.
      crafter: compiled functions to share between calls of one attack structure.

    Returns:
      An `Adversarial` of numpy arrays in the order of the arguments.

    Raises:
      UsageError: an argument is not what it must be.
      Stopped: the command was asked to stop; finished examples are in the journal.

    Example:
      >>> model = ja.Classifier.from_function(lambda w, x, key: x.ravel(), None)
      >>> images = np.random.default_rng(0).random((20, 2, 2, 1), np.float32)
      >>> labels = images.reshape(20, 4).argmax(axis=1)
      >>> attack, key = ja.Fgsm(ja.Linf(1.0)), jax.random.key(0)
      >>> adv = ja.craft_batches(attack, model, key, images, labels, batch_size=8)
      >>> adv.image.shape, bool(adv.success.all())
      ((20, 2, 2, 1), True)
    """
    arguments.check_count("batch_size", batch_size)
    if chunk_steps is not None:
        arguments.check_count("chunk_steps", chunk_steps)
    given = arguments.check(
        attack, model, key, images, labels, ids, per_image, features=features
    )
    ids = np.asarray(given.ids)
    crafter = crafter or Crafter()
    rows = {
        "image": np.asarray(given.images),
        "label": np.asarray(given.labels, np.int32),
        "id": ids.astype(np.int32),
        "fields": {k: np.asarray(v) for k, v in given.fields.items()},
    }
    found = _empty(rows["image"])
    todo = list(range(len(ids)))
    if journal is not None:
        known = journal.load(ids, found)
        for index, row in known.items():
            _store(found, index, row)
        todo = [i for i in todo if i not in known]
        progress(len(known))
    run = _Run(attack, model, key, rows, found, batch_size, chunk_steps, crafter)
    try:
        for finished in run(todo):
            if journal is not None:
                journal.write(ids[finished], _take(found, finished))
            progress(len(finished))
    finally:
        if journal is not None:
            journal.flush()
    return found


def whole_chunk(steps: int, most: int = 10) -> int:
    """The largest divisor of `steps` up to `most`: no step of a chunk is idle."""
    return next((k for k in range(most, 1, -1) if steps % k == 0), 1)


class Crafter:
    """The compiled functions of `craft_batches`, kept from call to call.

    One attack structure (its classes, counts and choices) at one shape compiles
    once; numbers such as eps may differ from call to call.
    """

    def __init__(self):
        self._made: dict[int, tuple[Callable, Callable, Callable]] = {}

    def functions(self, chunk_steps: int) -> Any:
        if chunk_steps not in self._made:
            self._made[chunk_steps] = (
                parallel.mapped_rows(_start, whole=3, donate=(3,)),
                parallel.mapped_rows(_advance(chunk_steps), whole=2, donate=(2,)),
                parallel.mapped_rows(_harvest, whole=2),
            )
        return self._made[chunk_steps]


@struct.dataclass
class _Lane:
    key: Any
    state: Any
    image: Any
    label: Any
    fields: Any
    restart: Any

    def bound(self, attack, model):
        """The attack as this lane's image and restart need it."""
        given = base.with_fields(attack, self.fields)
        return base.bound(given, self.restart, model, self.key, self.image, self.label)


class _Run:
    """One pass of the host loop over a list of examples."""

    def __init__(self, attack, model, key, rows, found, batch_size, chunk, crafter):
        self.attack, self.rows, self.found = attack, rows, found
        self.model = parallel.replicate(model)
        self.whole_attack = parallel.replicate(attack)
        self.key = parallel.replicate(base.raw_key(key))
        self.batch_size = batch_size
        self.lanes_count = batch_size * jax.local_device_count()
        chunk = chunk or whole_chunk(attack.steps)
        self.start, self.advance, self.harvest = crafter.functions(chunk)

    def __call__(self, todo):
        """Yields the indices of examples as they are finished.

        Rounding may depend on the position in a batch, so an example always runs
        at position id modulo batch size, on whichever device is free.
        """
        queues = [collections.deque() for _ in range(self.batch_size)]
        for index in todo:
            queues[self.rows["id"][index] % self.batch_size].append((index, 0))
        example = np.full(self.lanes_count, -1)
        restart = np.zeros(self.lanes_count, np.int32)
        lanes = self._blank() if todo else None
        while any(queues) or np.any(example >= 0):
            fresh = np.zeros(self.lanes_count, bool)
            for lane in np.flatnonzero(example < 0):
                queue = queues[lane % self.batch_size]
                if queue:
                    example[lane], restart[lane] = queue.popleft()
                    fresh[lane] = True
            if fresh.any():
                lanes = self.start(
                    self.whole_attack, self.model, self.key, lanes,
                    *parallel.shard(self._refill(fresh, example, restart)),
                )  # fmt: skip
            preemption.stop_if_asked()
            lanes, finished = self.advance(self.whole_attack, self.model, lanes)
            done = np.flatnonzero(parallel.unshard(finished) & (example >= 0))
            if not len(done):
                continue
            got = parallel.unshard(self.harvest(self.whole_attack, self.model, lanes))
            again = self._merge(got, done, example[done], restart[done])
            for lane in done[again]:
                queues[lane % self.batch_size].append(
                    (example[lane], restart[lane] + 1)
                )
            finished_now = example[done[~again]].copy()
            example[done] = -1
            if len(finished_now):
                yield finished_now

    def _merge(self, got, lanes, indices, restarts):
        """Merges lanes into `found`; True where an example needs a restart."""
        new, old = _take(got, lanes), _take(self.found, indices)
        merged = worst(old, new)
        first = restarts == 0
        for target, a, b in zip(
            jax.tree.leaves(self.found),
            jax.tree.leaves(new),
            jax.tree.leaves(merged),
            strict=True,
        ):
            shape = (-1,) + (1,) * (a.ndim - 1)
            target[indices] = np.where(first.reshape(shape), a, b)
        broken = self.found.success[indices] | np.isnan(self.found.margin[indices])
        return ~broken & (restarts + 1 < self.attack.restarts)

    def _refill(self, fresh, example, restart):
        """Rows for all lanes; those of lanes that are not fresh are not read."""
        index = np.maximum(example, 0)
        take = _take(self.rows, index)
        return fresh, take["id"], restart, take["image"], take["label"], take["fields"]

    def _blank(self):
        blank = np.zeros(self.lanes_count, bool), np.full(self.lanes_count, -1)
        rows = self._refill(*blank, np.zeros(self.lanes_count, np.int32))
        first = _take(rows, 0)
        lane = jax.eval_shape(
            _fresh_lane, self.attack, self.model, self.key, *first[1:]
        )
        return parallel.shard(
            jax.tree.map(
                lambda x: np.zeros((self.lanes_count, *x.shape), x.dtype), lane
            )
        )


def _fresh_lane(attack, model, key, example, restart, image, label, fields):
    key, given = base.example_key(key, example), base.with_fields(attack, fields)
    _, state = base.begin(given, restart, model, key, image, label)
    return _Lane(key, state, image, label, fields, restart)


def _start(attack, model, key, lanes, fresh, ids, restarts, images, labels, fields):
    def one(lane, is_fresh, *row):
        return select(is_fresh, _fresh_lane(attack, model, key, *row), lane)

    return jax.vmap(one)(lanes, fresh, ids, restarts, images, labels, fields)


def _advance(chunk_steps):
    def advance(attack, model, lanes):
        def one(lane):
            own = lane.bound(attack, model)
            step = base.step_of(own, model, lane.image, lane.label)

            def active_step(state):
                running = (state.count < attack.steps) & ~state.done
                return select(running, step(state), state)

            state = repeat(chunk_steps, active_step, lane.state)
            finished = (state.count >= attack.steps) | state.done
            return lane.replace(state=state), finished

        return jax.vmap(one)(lanes)

    return advance


def _harvest(attack, model, lanes):
    def one(lane):
        own = lane.bound(attack, model)
        return base.verified(own, lane.state, model, lane.image, lane.label)

    return jax.vmap(one)(lanes)


def _empty(images):
    n = len(images)
    return Adversarial(
        image=images.copy(),
        success=np.zeros(n, bool),
        margin=np.full(n, -np.inf, np.float32),
        size=np.zeros(n, np.float32),
        steps_used=np.zeros(n, np.int32),
    )


def _take(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


def _store(found, index, row):
    for target, value in zip(jax.tree.leaves(found), jax.tree.leaves(row), strict=True):
        target[index] = value
