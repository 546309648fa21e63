"""The tutorials are run, in small, as the code that they hold."""

import ast
import json

import pytest

from tests.docs import pages

NOTEBOOKS = sorted((pages.DOCS / "tutorials").glob("*.ipynb"))
SIZES = "SMALL = False"


def code(path):
    """The code cells of a notebook, at the small size."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    assert sum(source.startswith(SIZES) for source in found) == 1
    return [source.replace(SIZES, "SMALL = True") for source in found]


def run(sources):
    """Runs cells one after another as a notebook does; what is shown is made too."""
    names = {"__name__": "__main__"}
    for number, source in enumerate(sources):
        tree, shown = ast.parse(source), None
        if isinstance(tree.body[-1], ast.Expr):
            shown = ast.Expression(tree.body.pop().value)
        exec(compile(tree, f"cell {number}", "exec"), names)
        value = shown and eval(compile(shown, f"cell {number}", "eval"), names)
        if hasattr(value, "_repr_html_"):
            assert value._repr_html_()
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
    assert "Traceback" not in told and "/tmp/" not in told and "/work/" not in told


def test_code_that_breaks_is_noticed():
    with pytest.raises(NameError):
        run(["a = 1", "a + b"])
    assert run(["a = 1", "b = a + 1\nb"])["b"] == 2
