"""Every check is declared, and the page explains each."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from jaxadv.evaluation import checks
from jaxadv.evaluation.report import explained

FOLDER = Path(checks.__file__).parent


def declared():
    """Every `Check` that stands in a file of the checks."""
    for found in pkgutil.iter_modules(checks.__path__):
        module = importlib.import_module(f"jaxadv.evaluation.checks.{found.name}")
        for value in vars(module).values():
            if isinstance(value, checks.Check):
                yield value


def test_no_declared_check_is_forgotten():
    found = list(declared())
    assert len(found) == len(checks.CHECKS) == len({check.id for check in found})
    assert set(found) == set(checks.CHECKS)
    numbers = [int(check.id[1:]) for check in checks.CHECKS]
    assert numbers == sorted(numbers)


def test_findings_are_made_by_declared_checks_alone():
    for path in FOLDER.glob("*.py"):
        if path.name != "base.py":
            assert not re.search(r"\bFinding\(", path.read_text()), path


def test_numbers_in_docstrings_are_those_of_the_checks():
    ids = {check.id for check in checks.CHECKS}
    for path in FOLDER.glob("*.py"):
        assert set(re.findall(r"\bR\d+\b", path.read_text())) <= ids, path


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.id)
def test_each_is_explained_in_one_row(check):
    lines = explained.table()
    (row,) = [
        line for line in lines if f'<a id="check-{check.id.lower()}"></a>' in line
    ]
    assert check.looks and check.todo and (check.means or check.warns)
    for words in (check.name, check.looks, check.means, check.warns, check.todo):
        assert "|" not in words and "\n" not in words
        assert explained.linked(words) in row
    assert (f"{check.name} (full)" in row) == (check.level == "full")


def test_numbers_that_were_never_given_are_named():
    assert checks.skipped() == ["R13", "R14", "R16"]
    assert "R13, R14 and R16" in "\n".join(explained.table())


def test_a_check_in_a_sentence_leads_to_its_row():
    assert explained.linked("see R3, R13 and <R9>") == (
        "see [R3](#check-r3), R13 and &lt;[R9](#check-r9)&gt;"
    )
    assert explained.linked("R33 XR3 R3x") == "R33 XR3 R3x"
