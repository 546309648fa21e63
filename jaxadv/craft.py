"""Who runs an attack: inside a compiled step, or batch by batch from the host.

`craft` is pure and belongs in training steps. `craft_batches` is the evaluation's
loop: it keeps a fixed number of lanes busy on every device, refills a lane as soon
as its image is done, and so runs every image at one batch shape. Both derive all
randomness from the key and the example's id, verify the returned image, and merge
restarts with `worst`.
"""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxadv import parallel
from jaxadv.attacks.base import select
from jaxadv.journal import Journal
from jaxadv.numerics import repeat
from jaxadv.objectives import bind, goal_at, restarted
from jaxadv.specs import UsageError


@struct.dataclass
class Adversarial:
    """What an attack returns; every array has a leading batch axis.

    Attributes:
      image: [b, h, w, c] in [0, 1], inside the threat's budget also where the
        attack failed.
      success: [b] whether the goal holds at `image`, recomputed there.
      margin: [b] the objective's `goal` at `image`; success is margin >= 0, and NaN
        says that the network's output is not a number.
      size: [b] the threat's `size` of the returned perturbation.
      steps_used: [b] attack steps taken, over all restarts.
    """

    image: Any
    success: Any
    margin: Any
    size: Any
    steps_used: Any


def craft(
    attack: Any,
    model: Any,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    *,
    ids: jax.Array | None = None,
    per_image: Mapping[str, jax.Array] | None = None,
) -> Adversarial:
    """Attacks a batch; pure, for use under jit and pmap.

    Args:
      attack: see `jaxadv.attacks`.
      model: a Classifier, or what the attack's objective takes in its place, as a
        tuple of them.
      key: the run's key; an example's own is `fold_in(key, id)`.
      images: [b, h, w, c] in [0, 1], or groups [b, k, h, w, c] for a `Shared` threat.
      labels: [b] class indices, [b, k] of groups.
      ids: [b] example ids; default 0 … b - 1.
      per_image: field path -> [b, …] values of fields that differ by image, as
        `{"threat.eps": radii}`.

    Returns:
      An `Adversarial`, gradients stopped.
    """
    ids = jnp.arange(images.shape[0]) if ids is None else ids

    def one(image, label, example, fields):
        given = _with_fields(attack, fields)
        own_key = jax.random.fold_in(_raw(key), example)
        found: Any = None
        for restart in range(attack.restarts):
            own, state = _searched(given, restart, model, own_key, image, label)
            new = _verified(own, state, model, image, label)
            if found is None:
                found = new
            else:  # as the host's loop does, which restarts only the unbroken
                found = select(found.success, found, worst(found, new))
        return found

    found = jax.vmap(one)(images, labels, ids, dict(per_image or {}))
    return jax.lax.stop_gradient(found)


def craft_traced(
    attack: Any,
    model: Any,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    *,
    ids: jax.Array | None = None,
) -> tuple[Adversarial, Any]:
    """As `craft`, with what the attack recorded on its way; pure.

    Returns:
      An `Adversarial` and `attack.trace(…)`, both with a leading batch axis: of
      `MinMax` the weights [b, steps + 1, K].

    Raises:
      UsageError: the attack has no `trace`, or several restarts.
    """
    if not hasattr(attack, "trace") or attack.restarts != 1:
        name = type(attack).__name__
        raise UsageError(
            f"craft_traced: {name} with {attack.restarts} restarts; it takes one "
            "restart of an attack with a `trace`, as MinMax"
        )
    ids = jnp.arange(images.shape[0]) if ids is None else ids

    def one(image, label, example):
        own_key = jax.random.fold_in(_raw(key), example)
        own, state = _searched(attack, 0, model, own_key, image, label)
        found = _verified(own, state, model, image, label)
        return found, own.trace(state, model, image, label)

    return jax.lax.stop_gradient(jax.vmap(one)(images, labels, ids))


def worst(a: Adversarial, b: Adversarial) -> Adversarial:
    """The stronger of two results per example: success first, then margin.

    Steps add up. Works on host arrays and on traced ones, with or without a batch
    axis. A NaN margin wins over a finite one, so that it cannot be hidden.
    """
    np_like = np if isinstance(a.margin, np.ndarray) else jnp
    better = np_like.isnan(b.margin) | (b.margin > a.margin)
    choose_b = (b.success & ~a.success) | ((b.success == a.success) & better)
    choose_b = choose_b & ~np_like.isnan(a.margin)

    def pick(x, y):
        shape = choose_b.shape + (1,) * (x.ndim - choose_b.ndim)
        return np_like.where(choose_b.reshape(shape), y, x)

    merged = jax.tree.map(pick, a, b)
    return merged.replace(steps_used=a.steps_used + b.steps_used)


def craft_batches(
    attack: Any,
    model: Any,
    key: jax.Array,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    ids: np.ndarray | None = None,
    per_image: Mapping[str, np.ndarray] | None = None,
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
      batch_size: lanes on each device; the one batch shape that is compiled.
      chunk_steps: attack steps between two looks of the host; it changes no result.
      journal: finished examples are read from it and written to it.
      progress: called with the number of examples that have just been finished.
      crafter: compiled functions to share between calls of one attack structure.

    Returns:
      An `Adversarial` of numpy arrays in the order of the arguments.
    """
    n = len(images)
    ids = np.arange(n) if ids is None else np.asarray(ids)
    crafter = crafter or Crafter()
    rows = {
        "image": np.asarray(images, np.float32),
        "label": np.asarray(labels, np.int32),
        "id": ids.astype(np.int32),
        "fields": {k: np.asarray(v) for k, v in (per_image or {}).items()},
    }
    found = _empty(rows["image"])
    todo = list(range(n))
    if journal is not None:
        known = journal.load(ids)
        for index, row in known.items():
            _store(found, index, row)
        todo = [i for i in todo if i not in known]
        progress(len(known))
    run = _Run(attack, model, key, rows, found, batch_size, chunk_steps, crafter)
    for finished in run(todo):
        if journal is not None:
            journal.write(ids[finished], _take(found, finished))
        progress(len(finished))
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

    def functions(self, chunk_steps: int):
        if chunk_steps not in self._made:
            self._made[chunk_steps] = (
                parallel.mapped_rows(_start, whole=3, donate=(3,)),
                parallel.mapped_rows(_advance(chunk_steps), whole=2, donate=(2,)),
                parallel.mapped_rows(_harvest, whole=2),
            )
        return self._made[chunk_steps]


@struct.dataclass
class _Lane:
    state: Any
    image: Any
    label: Any
    fields: Any
    restart: Any

    def bound(self, attack, model):
        """The attack as this lane's image and restart need it."""
        given = _with_fields(attack, self.fields)
        return _bound(given, self.restart, model, self.image, self.label)


class _Run:
    """One pass of the host loop over a list of examples."""

    def __init__(self, attack, model, key, rows, found, batch_size, chunk, crafter):
        self.attack, self.rows, self.found = attack, rows, found
        self.model = parallel.replicate(model)
        self.whole_attack = parallel.replicate(attack)
        self.key = parallel.replicate(_raw(key))
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
    own = _bound(_with_fields(attack, fields), restart, model, image, label)
    own_key = jax.random.fold_in(jax.random.fold_in(key, example), restart)
    return _Lane(own.init(own_key, model, image, label), image, label, fields, restart)


def _start(attack, model, key, lanes, fresh, ids, restarts, images, labels, fields):
    def one(lane, is_fresh, *row):
        return select(is_fresh, _fresh_lane(attack, model, key, *row), lane)

    return jax.vmap(one)(lanes, fresh, ids, restarts, images, labels, fields)


def _advance(chunk_steps):
    def advance(attack, model, lanes):
        def one(lane):
            own = lane.bound(attack, model)
            step = _step(own, model, lane.image, lane.label)

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
        return _verified(own, lane.state, model, lane.image, lane.label)

    return jax.vmap(one)(lanes)


def _searched(attack, restart, model, key, image, label):
    """The bound attack and the state after all steps of one restart."""
    own = _bound(attack, restart, model, image, label)
    state = own.init(jax.random.fold_in(key, restart), model, image, label)
    state = repeat(attack.steps, _step(own, model, image, label), state)
    return own, state


def _step(attack, model, image, label):
    """One step as a compiled call, so that unrolling traces it once."""

    @jax.jit
    def step(attack, model, state, image, label):
        stepped = attack.step(state, model, image, label)
        return select(state.done, state, stepped)

    return lambda state: step(attack, model, state, image, label)


def _verified(attack, state, model, image, label) -> Adversarial:
    params = attack.finish(state, model, image, label)
    adversarial = attack.threat.apply(params, image)
    with jax.default_matmul_precision("highest"):
        margin = goal_at(attack.objective, model, adversarial, label, state.key)
    size = attack.threat.size(params, image)
    return Adversarial(adversarial, margin >= 0, margin, size, state.count)


def _bound(attack, restart, model, image, label):
    """The attack with all that depends on restart and clean image filled in."""
    key = jax.random.key_data(jax.random.key(0))
    objective = restarted(attack.objective, restart)
    return attack.replace(
        threat=bind(attack.threat, model, image, label, key),
        objective=bind(objective, model, image, label, key),
    )


def _with_fields(attack, fields):
    for path, value in fields.items():
        attack = _replaced(attack, path.split("."), value)
    return attack


def _replaced(part, path, value):
    if len(path) > 1:
        value = _replaced(getattr(part, path[0]), path[1:], value)
    return part.replace(**{path[0]: value})


def _raw(key):
    """Key data, because typed keys leave the device on their way through pmap."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(key)
    return key


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
