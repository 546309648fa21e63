"""What a training and an evaluation leave behind, without either."""

import json

import numpy as np

from jaxadv.evaluation import table
from jaxadv.evaluation.run import runner

STEP = 4


def train(one, finished="1 epochs", step=STEP):
    """The notes of a training's last and best checkpoint."""
    for kind in ("checkpoints", "best"):
        path = one.folder / kind / str(step) / "meta" / "metadata"
        path.parent.mkdir(parents=True)
        notes = {"config": one.training, "notes": {"finished": finished}}
        path.write_text(json.dumps({**notes, "step": step, "checksums": {}}))


def tabled(one, correct, broken):
    """A table: [n] bools, and label -> [n] bools."""
    n, columns = len(correct), {}
    of = runner.metadata(one.suite, one.training["data"]["name"], one.name, {})
    columns["id"], columns["label"] = np.arange(n), np.zeros(n, int)
    columns["clean/margin"] = np.where(correct, -1.0, 1.0)
    for planned in one.suite.attacks:
        success = np.array(broken[planned.label]) | ~np.array(correct)
        columns[f"attack/{planned.label}/success"] = success
    return table.Table(columns, json.loads(json.dumps(of)))


def judge(one, correct=None, broken=None, step=STEP, **report):
    """The table and the report of an evaluation; by default nothing breaks."""
    n = one.suite.examples
    correct = np.ones(n, bool) if correct is None else np.array(correct)
    none = {planned.label: np.zeros(n, bool) for planned in one.suite.attacks}
    found = tabled(one, correct, none | (broken or {}))
    table.save(found, one.results / "table.npz")
    model = {"which": "best", "step": step, "training": one.training}
    content = {"fingerprint": one.name, "model": model, **report}
    (one.results / "report.json").write_text(json.dumps(content))
    return found
