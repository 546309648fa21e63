"""A stored table gives the files that it once gave, byte for byte."""

import json

import numpy as np
import pytest

from jaxadv.evaluation import table
from tests.golden import make_report

STORED = sorted(p.name for p in make_report.FOLDER.iterdir() if p.name != "table.npz")


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    folder = tmp_path_factory.mktemp("again")
    make_report.write(table.load(make_report.FOLDER / "table.npz"), folder)
    return folder


def test_there_is_a_file_of_every_kind(again):
    assert sorted(path.name for path in again.iterdir()) == STORED
    assert {"summary.json", "report.csv", "sweeps.csv", "curve.csv"} <= set(STORED)


@pytest.mark.parametrize("name", [name for name in STORED if name != "summary.json"])
def test_files_are_what_they_were(again, name):
    assert (again / name).read_bytes() == (make_report.FOLDER / name).read_bytes()


def test_the_summary_is_what_it_was(again):
    """No file of an evaluation: its entries may stand in another order."""
    found = [(f / "summary.json").read_text() for f in (again, make_report.FOLDER)]
    assert json.loads(found[0]) == json.loads(found[1])


def test_the_stored_table_is_the_one_that_is_made():
    stored, made = table.load(make_report.FOLDER / "table.npz"), make_report.made()
    assert stored.metadata == json.loads(json.dumps(made.metadata))
    for name, column in made.columns.items():
        assert np.array_equal(column, stored.columns[name])
