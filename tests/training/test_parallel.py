"""Placement, gathering, and the mean that pmap does not miss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import parallel
from jaxadv.specs import UsageError

DEVICES = jax.local_device_count()
ROWS = np.arange(4 * DEVICES, dtype=np.float32)


def test_rows_come_back_in_order():
    placed = parallel.shard({"a": ROWS, "b": ROWS[:, None]})
    assert placed["a"].shape == (DEVICES, 4)
    back = parallel.unshard(placed)
    assert np.array_equal(back["a"], ROWS) and back["b"].shape == (len(ROWS), 1)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(UsageError, match=f"{DEVICES} local devices"):
        parallel.shard(ROWS[:-1])


def step(state, batch):
    total = jax.lax.pmean(batch.sum(), parallel.AXIS)
    return state + total, total


def forgetful(state, batch):
    return state + batch.sum(), batch.sum()


def test_a_forgotten_mean_is_found():
    """pmap itself raises nothing; the assertion tells the two apart."""
    start = parallel.replicate(jnp.zeros(()))
    state, total = parallel.mapped(step)(start, parallel.shard(ROWS))
    parallel.assert_replicated(state)
    assert total == ROWS.sum() / DEVICES
    start = parallel.replicate(jnp.zeros(()))
    state, _ = parallel.mapped(forgetful)(start, parallel.shard(ROWS))
    with pytest.raises(AssertionError):
        parallel.assert_replicated(state)


def test_rows_are_mapped_without_communication():
    doubled = parallel.mapped_rows(lambda factor, x, y: factor * x + y, whole=1)
    out = doubled(parallel.replicate(2.0), *parallel.shard((ROWS, ROWS)))
    assert np.array_equal(parallel.unshard(out), 3 * ROWS)


def test_one_process_has_all_rows():
    wide = {"a": np.arange(5, dtype=np.int64), "b": np.ones((5, 2))}
    assert parallel.gather_rows(wide) is wide
    assert np.array_equal(parallel.process_slice(ROWS), ROWS)


def test_without_a_cluster_the_missing_flags_are_named(monkeypatch):
    def fail(*_):
        raise ValueError("coordinator_address should be defined")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    parallel.initialize(False)
    with pytest.raises(UsageError, match="--coordinator"):
        parallel.initialize(True)
