"""Pages link to what is there, name files that are, and give commands that parse."""

import re
import sys
from pathlib import Path

import pytest

from jaxadv import commands
from tests.docs import pages
from tests.paths import ROOT

EVERY = pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
# Folders whose files pages name; what a reader is to make is not there yet.
_TO_MAKE = "brightness.py"
_OURS = re.compile(r"(configs|jaxadv|benchmarks|tests|docs)/[\w./*<>\-]+")


@EVERY
def test_links_lead_somewhere(page):
    for link in pages.links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_relative_to(ROOT) and target.exists(), link
        assert not anchor or anchor in pages.anchors(target), link


@EVERY
def test_files_that_are_named_are_there(page):
    for text in [*pages.codes(page), *pages.commands(page)]:
        for found in _OURS.finditer(text):
            path = found.group().rstrip(".")
            if found.start() and text[found.start() - 1] in "/.~$":
                continue
            made = "<" in path or _TO_MAKE in path
            assert made or any(ROOT.glob(path.rstrip("/"))), path


def every_command():
    found = {line: None for page in pages.PAGES for line in pages.commands(page)}
    assert len(found) > 40
    return list(found)


@pytest.mark.parametrize("line", every_command())
def test_commands_are_understood(line, parse, capsys):
    if "--help" in line:
        with pytest.raises(SystemExit, match="^0$"):
            sys.exit(parse(line))
        return
    with pytest.raises(pages.Parsed):
        status = parse(line)
        raise AssertionError(f"{status}: {capsys.readouterr().err}")


def test_a_wrong_command_is_noticed(parse):
    assert (
        parse("jaxadv train --config=configs/demo.py --workdir=x --config.epoch=3") == 2
    )
    with pytest.raises(SystemExit):
        parse("python -m benchmarks.papers.minmax.tables runs --tabel 1a")


def test_make_targets_are_there():
    made = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [
        re.match(r"make ([\w-]+)$", code)
        for p in pages.PAGES
        for code in pages.codes(p)
    ]
    assert {found[1] for found in named if found} <= set(made)


def test_the_readme_is_short_and_names_its_commands():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert "make demo" in text and "make test" in text


def test_every_page_is_in_the_table_of_pages():
    table = pages.links(pages.DOCS / "README.md")
    kinds = ("*.md", "launch/*.md", "tutorials/*.ipynb")
    for path in [path for kind in kinds for path in pages.DOCS.glob(kind)]:
        assert (
            path.name == "README.md" or path.relative_to(pages.DOCS).as_posix() in table
        )
    results = pages.links(pages.DOCS / "results" / "README.md")
    assert set(results) >= {p.name for p in pages.DOCS.glob("results/[a-z]*.md")}


def test_results_stand_under_commands():
    for page in pages.DOCS.glob("results/[a-z]*.md"):
        text = page.read_text()
        assert page.stem == "not_run" or "```\npython -m" in text or "make " in text, (
            page
        )


def test_every_registered_name_is_among_the_parts():
    text = (pages.DOCS / "parts.md").read_text()
    for kind in commands.PARTS:
        missing = [n for n in commands.listed(kind) if f"`{n}`" not in text]
        assert not missing, (kind, missing)
    suites = [Path(name).stem for name in commands.listed("suites")]
    assert not [name for name in suites if f"`{name}`" not in text]
