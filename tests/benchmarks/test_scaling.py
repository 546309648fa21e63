"""Bytes of collectives, and the model of pods."""

import jax
import numpy as np
import pytest

from benchmarks.speed import scaling
from jaxadv import parallel
from jaxadv.defenses import Clean
from jaxadv.training import state as train_state
from tests.training.small import Small, make_batch, make_state

HLO = """
  %sum = f32[] add(%x, %y), metadata={op_name="all-reduce(of nothing)"}
  %all-reduce = (f32[16,6]{1,0}, /*index=1*/f32[]) all-reduce(%a, %b), channel_id=1
  %get = f32[16,6]{1,0} get-tuple-element(%all-reduce), index=0
  ROOT %g = s32[8]{0} all-gather(%c), dimensions={0}
  %start = bf16[10]{0} all-reduce-start(%d), channel_id=2
"""


def test_collectives_are_counted_by_their_results():
    assert scaling.collectives(HLO) == {
        "all-reduce": 4 * (96 + 1) + 2 * 10,
        "all-gather": 4 * 8,
    }


def test_a_training_step_sends_gradients_statistics_and_metrics():
    """The loss and an accuracy are the metrics; the gradient's norm is made of them."""
    host = make_state(Small(norm=True))
    step = parallel.mapped(train_state.make_step(seed=0))
    batch = parallel.shard(make_batch(jax.local_device_count()))
    state, defense = parallel.replicate(host), parallel.replicate(Clean())
    text = step.lower(state, batch, defense).compile().as_text()
    leaves = jax.tree.leaves((host.params, host.batch_stats))
    assert scaling.collectives(text) == {
        "all-reduce": sum(np.size(leaf) for leaf in leaves) * 4 + 2 * 4
    }


def test_the_model():
    """On two chips a ring sends the bytes once, on many nearly twice."""
    assert scaling.step_seconds(3.0, 10.0, 1, 5.0) == 3.0
    assert scaling.step_seconds(3.0, 10.0, 2, 5.0) == 3.0 + 2.0
    assert scaling.step_seconds(0.0, 10.0, 1000, 5.0) == pytest.approx(3.996)


def test_cores_are_disjoint(monkeypatch):
    monkeypatch.setattr(scaling.os, "sched_getaffinity", lambda pid: {1, 4, 5, 7, 8})
    assert scaling.pinned(2) == [{1, 4}, {5, 7}]
    assert scaling.pinned(8) is None
