"""Two processes write the checkpoints of one run."""

from pathlib import Path

from tests import processes

# In each process another kind of write ends late. In "LBBLL" each kind of write (L:
# a whole checkpoint, B: the best one) follows each.
SAVES = """
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp

address, process, folder = sys.argv[1:]
jax.distributed.initialize(address, 2, int(process))

from jaxadv.checkpoints import Checkpoints

late = ("checkpoints", "best")[int(process)]
finalize = ocp.CheckpointManager._finalize

def slow(self, *arguments):
    time.sleep(0.3 * (self.directory.name == late))
    return finalize(self, *arguments)

ocp.CheckpointManager._finalize = slow
store, tree = Checkpoints(folder), {"a": np.arange(4.0)}
for step, kind in enumerate("LBBLL"):
    if kind == "L":
        store.save(step, {"model": tree, "training": tree}, {})
    else:
        store.save_best(step, tree, {})
store.close()
"""


def test_writes_of_two_kinds_follow_each_other(tmp_path):
    with processes.started(SAVES, str(tmp_path)) as both:
        for status, _, error in processes.ended(both):
            assert status == 0, error
    kept = {name: _names(tmp_path / name) for name in ("checkpoints", "best")}
    assert kept == {"checkpoints": {"0", "3", "4"}, "best": {"2"}}


def _names(folder: Path):
    return {path.name for path in folder.iterdir()}
