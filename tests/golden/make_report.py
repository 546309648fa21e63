"""A tiny stored evaluation, and the files that were written of it.

    python -m tests.golden.make_report

writes `report/` beside this file, by the code as it is then. The stored files are
those of the commit before metrics became entries of a registry.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from jaxadv.evaluation import metrics, report, table
from jaxadv.evaluation.report import sheets
from jaxadv.evaluation.run import runner
from jaxadv.evaluation.suite import config
from jaxadv.evaluation.writing import files

FOLDER = Path(__file__).with_name("report")
_N = 12


def _pgd(norm, eps, **more):
    spec = {"name": "pgd", "threat": {"name": norm, "eps": eps}, "steps": 4}
    return {**spec, "rel_step_size": 0.5, **more}


def plan() -> config.Suite:
    """A suite of everything that a report may tell."""
    return config.resolve(
        {
            "name": "stored",
            "attacks": {
                "weak": _pgd("linf", 4 / 255),
                "strong": _pgd("linf", 8 / 255, restarts=2),
                "first": _pgd("l2", 0.5),
                "second": _pgd("l2", 0.5, restarts=3),
            },
            "cascades": {"l2": ("first", "second")},
            "sweeps": {"linf": {"attacks": ("weak", "strong"), "ata": (0.9, 0.8)}},
            "unions": {"union": None, "both": ("weak", "first")},
            "means": ("strong", "second"),
            "curve": {"attack": _pgd("linf", 8 / 255), "points": 2},
            "distances": {"l2": "l2"},
            "notes": {"weak": "a note"},
        }
    )


def made() -> table.Table:
    """The table, by hand and by seed."""
    rng = np.random.RandomState(0)
    columns = {
        "id": np.arange(_N),
        "label": rng.randint(0, 3, _N),
        "clean/prediction": rng.randint(0, 3, _N),
        "clean/margin": np.where(np.arange(_N) == 3, 0.5, -1.0).astype(np.float32),
    }
    correct = columns["clean/margin"] < 0
    broken = {"weak": [1, 2], "strong": [1, 2, 5, 7], "first": [2], "second": [2, 8]}
    for label, rows in broken.items():
        success = np.isin(np.arange(_N), rows) | ~correct
        columns |= {
            f"attack/{label}/success": success,
            f"attack/{label}/prediction": rng.randint(0, 3, _N),
            f"attack/{label}/margin": rng.uniform(-1, 1, _N).astype(np.float32),
            f"attack/{label}/size": rng.uniform(0, 0.03, _N) * correct,
            f"attack/{label}/steps": rng.randint(1, 9, _N) * correct,
            f"attack/{label}/feasible": np.arange(_N) != (6 if label == "weak" else -1),
            f"attack/{label}/distance/l2": rng.uniform(0, 1, _N).astype(np.float32),
        }
    smallest = rng.choice([0.01, 0.02, 0.04, np.inf], _N).astype(np.float32)
    columns["curve/pgd_linf/eps"] = np.where(correct, smallest, 0.0).astype(np.float32)
    suite = plan()
    metadata = {
        "suite": suite.name,
        "attacks": {p.label: {"spec": p.spec, "eps": p.eps} for p in suite.attacks},
        "curves": {"pgd_linf": {"eps": [8 / 255 / 2, 8 / 255], "spec": {}}},
        "unions": {name: list(labels) for name, labels in suite.unions.items()},
        "seen": ["strong"],
        "means": list(suite.means or ()),
        "cascades": {name: list(labels) for name, labels in suite.cascades.items()},
        "sweeps": {name: dataclasses.asdict(s) for name, s in suite.sweeps.items()},
        "dataset": "digits",
        "split": "test",
        "fingerprint": "0123",
    }
    return table.Table(columns, metadata)


def content(found: table.Table) -> dict:
    """The report of a table, as if every attack had taken two seconds."""
    suite = plan()
    cost = runner.Timing(2.0, 0.5, 1, 0, 2.0)
    timings = dict.fromkeys(("clean", "curve", "checks", *found.attacks), cost)
    outcome = runner.Outcome(
        found, timings, {}, 3, dict.fromkeys(found.attacks, 0), (), {}
    )
    return report.build(metrics.summarize(found), outcome, suite, {"name": "net"}, "1")


def write(found: table.Table, folder: Path) -> None:
    """Summary, CSV files and what is printed; what depends on the machine is left
    out."""
    made_of = content(found)
    files.write_json(folder / "summary.json", metrics.summarize(found))
    files.write_json(
        folder / "report.json", {k: v for k, v in made_of.items() if k != "environment"}
    )
    files.write(folder / "report.txt", report.text(made_of) + "\n")
    for name, cells in sheets.files(made_of).items():
        files.write_csv(folder / name, cells)


if __name__ == "__main__":
    stored = made()
    table.save(stored, FOLDER / "table.npz")
    write(stored, FOLDER)
    print(json.dumps(sorted(path.name for path in FOLDER.iterdir())))
