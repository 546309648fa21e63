"""The tutorials are run, in small, as the code that they hold."""

import json
import tempfile
from pathlib import Path

import pytest

from tests.docs import pages
from tests.paths import ROOT

NOTEBOOKS = sorted((pages.DOCS / "tutorials").glob("*.ipynb"))
SIZES = "SMALL = False"


def code(path):
    """The code cells of a notebook, at the small size."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    uses = [source for source in found if "if SMALL" in source]
    assert bool(uses) == any(source.startswith(SIZES) for source in found)
    return [source.replace(SIZES, "SMALL = True") for source in found]


def run(sources):
    """The names after cells have run one after another, as in a notebook."""
    names = {"__name__": "__main__"}
    for number, source in enumerate(sources):
        exec(compile(source, f"cell {number}", "exec"), names)
    return names


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXADV_DATA_DIR", data)
    run(code(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_has_its_outputs(path):
    assert path.stat().st_size < 300_000
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell["outputs"] for cell in cells)
    told = json.dumps([cell["outputs"] for cell in cells])
    assert "Traceback" not in told
    for folder in (tempfile.gettempdir(), Path.home(), ROOT):  # of whoever ran it
        assert f"{folder}/" not in told


def test_code_that_breaks_is_noticed():
    with pytest.raises(NameError):
        run(["a = 1", "a + b"])
    assert run(["a = 1", "b = a + 1"])["b"] == 2
