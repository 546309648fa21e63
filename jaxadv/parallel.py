"""All that knows about devices and processes: pmap, placement and gathering.

`pmap` is in maintenance mode; the day it goes, this file alone changes. State is
carried whole (`in_axes=None, out_axes=None`), never stacked by device. pmap does
not check that such results agree on all devices: a forgotten mean is silent, so
`assert_replicated` is for tests. Keys travel as integers and are folded inside.
"""

import contextlib
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import numpy as np
from jax._src import clusters  # who finds out about a cluster has no public name
from jax._src import distributed as runtime  # nor has the store
from jax.experimental import multihost_utils

from jaxadv import peers, preemption, rollcall
from jaxadv.files import locks
from jaxadv.specs import UsageError

AXIS = "batch"
START = 300  # seconds in which all processes of a run are to start
_CONNECT = 280  # seconds for jax to connect them then; it aborts in C++ after 300
_peers: peers.Peers | None = None
_looks = 0  # how often all processes have looked whether they are to stop


def initialize(
    distributed: bool,
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    seconds: float = START,
) -> None:
    """Joins the other processes of a run; call before any device is touched.

    TPU pods, Slurm and Kubernetes are recognized without arguments; elsewhere
    give the coordinator's `host:port`, the number of processes and this one's.
    Where not all come within `seconds` this process ends with `peers.STATUS` and
    names the missing ones. From then on a process that dies ends all others.

    Raises:
      UsageError: `distributed` where the cluster cannot be found out.
    """
    if not distributed:
        return
    low = peers.reserve(processes)
    timer = threading.Timer(_CONNECT, _nobody_came, (coordinator,))
    timer.daemon = True
    try:
        where = _found(coordinator, processes, process_id, seconds)
        if None not in where and 0 <= where[2] < where[1] > 1:
            rollcall.meet(*where, seconds)
        timer.start()
        jax.distributed.initialize(*where)
    except rollcall.Absent as error:
        _end(str(error))
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"--distributed: {error}; give --coordinator, --processes, --process_id"
        ) from None
    finally:
        timer.cancel()
    global _peers
    state: Any = runtime.global_state
    if state.client is not None and state.num_processes > 1:
        host = state.coordinator_address.rsplit(":", 1)[0].strip("[]")
        _peers = peers.Peers(
            state.process_id,
            state.num_processes,
            host,
            state.client,
            low,
            preemption.ask,
        )


def leave(status: int) -> int:
    """Tells the other processes that this one ends with `status`, and returns it.

    Where it is not 0 the others end too, and this one has ended on return.
    """
    return status if _peers is None else _peers.leave(status)


@contextlib.contextmanager
def heeded(together: bool) -> Iterator[None]:
    """Within this block SIGTERM to one process asks all of them to stop.

    Args:
      together: they stop at one place, which `stops_here` tells: of several processes
        jax finds it, and has SIGTERM from the start. Else each of them is told at once,
        and stops where it next asks `preemption`.
    """
    if together and jax.process_count() > 1:
        yield
        return
    with preemption.heeded(_peers.ask if _peers else lambda: None):
        yield


def stops_here() -> bool:
    """Whether all processes are to stop here; all call it at the same places."""
    if jax.process_count() == 1:
        return preemption.asked()
    if runtime.global_state.preemption_sync_manager is None:
        return False
    global _looks
    _looks += 1
    return multihost_utils.reached_preemption_sync_point(_looks)


def _nobody_came(coordinator):
    where = coordinator or "the coordinator"
    _end(f"jax has not connected all processes at {where} within {_CONNECT} s")


def _end(text) -> NoReturn:
    print(f"error: --distributed: {text}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(peers.STATUS)


def _found(coordinator, processes, process_id, seconds) -> tuple[Any, Any, Any]:
    """The coordinator's address, how many processes there are, and which this is."""
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    given = coordinator, processes, process_id
    if None not in given:
        return given
    find = clusters.ClusterEnv.auto_detect_unset_distributed_params
    return find(*given, None, None, int(seconds))[:3]


@contextlib.contextmanager
def held(folder: str | os.PathLike) -> Iterator[None]:
    """A folder that is this run's own, on all processes, until the block ends.

    Raises:
      UsageError: another run is at work in it; see `locks.hold`.
    """
    with contextlib.ExitStack() as stack:
        primary_first(lambda: stack.enter_context(locks.hold(folder)))
        yield


def is_primary() -> bool:
    """Whether this process writes what all processes have in common."""
    return jax.process_index() == 0


def primary_first(action: Callable[[], Any]) -> None:
    """Runs `action` on the first process; the others go on when it has ended.

    Raises:
      UsageError: `action` has raised it; all processes raise it then.
    """
    told = ""
    if is_primary():
        try:
            action()
        except UsageError as error:
            told = str(error)
    # A byte at least: rows of no process at all cannot be gathered.
    own = np.frombuffer(f".{told}".encode() if is_primary() else b"", np.uint8)
    message = bytes(gather_rows(own)[1:]).decode()
    if message:
        raise UsageError(message)


def check_batch(batch_size: int, parts: int = 1) -> None:
    """Raises UsageError unless all devices get the same part of a batch.

    Args:
      batch_size: images, over all devices.
      parts: `config.accumulate_steps`, which a device's images are cut into.
    """
    devices = jax.device_count()
    unit = devices * parts
    if batch_size % unit:
        below = batch_size // unit * unit
        also = f" x config.accumulate_steps={parts}" if parts > 1 else ""
        raise UsageError(
            f"config.batch_size is {batch_size}; it must be divisible by the {devices} "
            f"{jax.default_backend()} devices{also}: give --config.batch_size="
            f"{f'{below} or ' if below else ''}{below + unit}"
        )


def replicate(tree: Any) -> Any:
    """Puts a tree whole on every local device, where `mapped` expects it.

    Without this the first call of a mapped step compiles it twice.
    """
    return jax.device_put(tree, _local(jax.P()))


def shard(rows: Any) -> Any:
    """Host rows [n, ...] -> [local devices, n / devices, ...], one slice a device.

    Raises:
      UsageError: n is not divisible by the number of local devices.
    """
    devices = jax.local_device_count()

    def place(x):
        x = np.asarray(x)
        if x.shape[0] % devices:
            raise UsageError(
                f"batch of {x.shape[0]} is not divisible by {devices} local devices"
            )
        x = x.reshape((devices, x.shape[0] // devices) + x.shape[1:])
        return jax.device_put(x, _local(jax.P(AXIS)))

    return jax.tree.map(place, rows)


def unshard(rows: Any) -> Any:
    """[local devices, b, ...] -> host rows [local devices * b, ...], as numpy."""
    return jax.tree.map(
        lambda x: np.asarray(x).reshape((-1,) + x.shape[2:]), jax.device_get(rows)
    )


def mapped(step: Callable[..., Any], donate: bool = True) -> "Mapped":
    """`step(state, batch, …) -> (state, metrics)` over all devices of all processes.

    The state, the metrics and what follows the batch are whole on every device, the
    batch is sharded; the step averages over `AXIS` itself. Make it once, before the
    loop.
    """
    more = len(inspect.signature(step).parameters) - 2
    run = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0) + (None,) * more,
        out_axes=None,
        donate_argnums=(0,) if donate else (),
    )
    return Mapped(run)


def mapped_rows(
    function: Callable[..., Any], whole: int, donate: tuple[int, ...] = ()
) -> "Mapped":
    """`function(*whole, *rows) -> rows` on this process's devices alone.

    The first `whole` arguments are replicated, the others and every result are
    sharded. There is no communication, so processes may call it at their own pace.
    """
    count = len(inspect.signature(function).parameters)
    run = jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=(None,) * whole + (0,) * (count - whole),
        devices=jax.local_devices(),
        donate_argnums=donate,
    )
    return Mapped(run)


class Mapped:
    """A pmapped function; on CPU each call waits for its result.

    XLA:CPU of jax 0.10 can deadlock with many collectives in flight.
    """

    def __init__(self, run: Callable[..., Any]):
        self._run: Any = run
        self._wait = jax.default_backend() == "cpu"

    def __call__(self, *args):
        result = self._run(*args)
        return jax.block_until_ready(result) if self._wait else result

    def lower(self, *args) -> Any:
        """What is compiled for these arguments, as `jax.stages.Lowered`."""
        return self._run.lower(*args)


def memory() -> dict[str, int]:
    """Bytes in use on the fullest device of this process, {} where it does not tell.

    Returns:
      `device_memory`, now, and `device_memory_peak`, the most since the process began.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    names = {"device_memory": "bytes_in_use", "device_memory_peak": "peak_bytes_in_use"}
    found = {
        name: [each[key] for each in stats if key in each]
        for name, key in names.items()
    }
    return {name: max(values) for name, values in found.items() if values}


def process_slice(rows: np.ndarray) -> np.ndarray:
    """This process's part of `rows`; the parts differ by one row at most."""
    return np.array_split(rows, jax.process_count())[jax.process_index()]


def gather_rows(rows: Any) -> Any:
    """All processes' rows, in process order, on every process, as numpy.

    Processes may bring different numbers of rows, some none at all.
    """
    if jax.process_count() == 1:
        return rows
    first = jax.tree.leaves(rows)[0]
    counts = multihost_utils.process_allgather(np.array(len(first)))
    most = int(np.max(counts))

    def collect(x):
        # As bytes: without 64-bit mode jax would turn 64-bit numbers into 32.
        x = np.ascontiguousarray(x)
        width = x.dtype.itemsize * int(np.prod(x.shape[1:]))
        padded = np.zeros((most, width), np.uint8)
        padded[: len(x)] = np.frombuffer(x.tobytes(), np.uint8).reshape(-1, width)
        every = multihost_utils.process_allgather(padded)
        parts = [r[:n].tobytes() for r, n in zip(every, counts, strict=True)]
        return np.frombuffer(b"".join(parts), x.dtype).reshape(-1, *x.shape[1:]).copy()

    return jax.tree.map(collect, rows)


def check_same(number: int, problem: str) -> None:
    """Raises UsageError with the problem unless all processes have this number."""
    if jax.process_count() == 1:
        return
    try:
        multihost_utils.assert_equal(np.array(number, np.uint32))
    except AssertionError:
        raise UsageError(problem) from None


def assert_replicated(tree: Any) -> None:
    """Fails where a leaf differs between local devices; NaNs are equal."""
    for leaf in jax.tree.leaves(tree):
        first, *others = [np.asarray(s.data) for s in leaf.addressable_shards]
        for other in others:
            np.testing.assert_array_equal(first, other)


def _local(spec):
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.NamedSharding(mesh, spec)
